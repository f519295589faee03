"""The usual way to tokenize a corpus: `datasets.map` with the fast Hugging Face tokenizer.

    python -m benchmarks.datasets_map TEXT TOKENIZER FOLDER

Reads paragraphs of a text file, tokenizes in batches and two processes, and saves the ids to
FOLDER/saved. Only ids are made; nothing is cut into windows, checked for copies or counted.
"""

import os
import sys
from pathlib import Path

from datasets import disable_progress_bars, load_dataset
from transformers import AutoTokenizer
from transformers.utils import logging


def main() -> None:
    text, tokenizer_folder, folder = sys.argv[1:]
    # Two processes with a thread each: with more threads they only disturb each other.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    disable_progress_bars()
    logging.set_verbosity_error()  # that texts are longer than 512 tokens is meant
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)

    def encode(rows: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        encoded = tokenizer(
            rows["text"],
            add_special_tokens=False,
            split_special_tokens=True,  # "[MASK]" in a text is text
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        return {"input_ids": encoded["input_ids"]}

    rows = load_dataset(
        "text", data_files=text, sample_by="paragraph", split="train", cache_dir=f"{folder}/cache"
    )
    ids = rows.map(encode, batched=True, num_proc=2, remove_columns=["text"])
    ids.save_to_disk(str(Path(folder) / "saved"))


if __name__ == "__main__":
    main()
