"""Fine-tuning of `small` against transformers' Trainer with dynamic padding, in examples/s.

    python -m benchmarks.fine_tuning [--train FILE] [--repetitions 5]

Both train the same encoder, with new heads, on the same labelled texts in batches of 32, with
dropout, each in a process of its own. See benchmarks/README.md.
"""

import argparse
import json
import random
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import (
    AutoTokenizer,
    DataCollatorWithPadding,
    ElectraForPreTraining,
    ElectraForSequenceClassification,
    PrinterCallback,
    TrainingArguments,
)
from transformers import Trainer as TransformersTrainer
from transformers.utils.logging import set_verbosity_error

from benchmarks.batches import PAD_ID, VOCAB_SIZE
from benchmarks.processes import Contestants, electra, in_process
from benchmarks.turns import report, take_turns
from electra_cli.finetuning.opening import open_session
from electra_cli.finetuning.rows import read_table
from electra_cli.finetuning.session import open_job
from electra_cli.finetuning.settings import FinetuneConfig
from electra_cli.model.networks import build_electra_configs
from electra_cli.preparing.source import SourceOptions
from electra_cli.preparing.sources import open_source
from electra_cli.presets import load_preset
from electra_cli.run_directory import RunDirectory

BATCH_SIZE, STEPS_PER_TURN, LONGEST = 32, 10, 128
RATE = 3e-4
LABELS = 6
BAR = 1.8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", help="a file with text and label; default: made from the corpus")
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    with TemporaryDirectory() as name, ExitStack() as processes:
        folder = Path(name)
        train = Path(arguments.train).resolve() if arguments.train else make_questions(folder)
        make_encoder(folder, train)
        contestants: dict[str, Callable[[], object]] = {}
        for each in ("ours", "transformers"):
            contestants[each] = partial(
                processes.enter_context(in_process(build, each, folder, train)), each
            )
        turns = take_turns(contestants, arguments.repetitions)
        num_examples = STEPS_PER_TURN * BATCH_SIZE
        for each in contestants:
            report(each, f"{turns.rate(each, num_examples):,.0f} examples/s")
        report("times transformers' Trainer", turns.ratio("transformers", "ours"), f"bar: {BAR}")


def make_questions(folder: Path) -> Path:
    """Texts as long as TREC's questions (10 words on average), with labels at random."""
    draw = random.Random(0)
    path = folder / "questions.jsonl"
    with path.open("w") as file:
        for text in open_source(SourceOptions(max_bytes=2_000_000)).documents():
            words = text.decode().split()
            while len(words) > LONGEST:
                count = max(3, round(draw.gauss(10, 4)))
                row = {"text": " ".join(words[:count]), "label": f"label {draw.randrange(LABELS)}"}
                file.write(json.dumps(row) + "\n")
                words = words[count:]
    return path


def make_encoder(folder: Path, train: Path) -> None:
    """A folder `encoder` with small's random weights and a tokenizer learned from the texts."""
    texts = [row.values["text"] for row in read_table(str(train)).rows]
    (folder / "texts.txt").write_text("\n\n".join(texts))
    electra("prepare", "texts.txt", "--vocab-size", 8192, "--out", "data", cwd=folder)
    torch.manual_seed(0)
    _, config = build_electra_configs(load_preset("small").model, VOCAB_SIZE, PAD_ID)
    ElectraForPreTraining(config).save_pretrained(folder / "encoder")
    AutoTokenizer.from_pretrained(folder / "data/tokenizer").save_pretrained(folder / "encoder")


def build(name: str, folder: Path, train: Path) -> Contestants:
    """In its own process: a turn is so many optimizer steps."""
    run = our_steps(folder, train) if name == "ours" else their_steps(folder, train)
    return {name: run}


def our_steps(folder: Path, train: Path) -> Callable[[], None]:
    """As electra finetune takes them (finetuning/loop.py), on endless batches."""
    config = FinetuneConfig(
        encoders=(str(folder / "encoder"),),
        train=str(train),
        task="classify",
        batch_size=BATCH_SIZE,
        max_seq_length=LONGEST,
        learning_rate=RATE,
        epochs=1_000,
    )
    session = open_session(RunDirectory(folder / "run"), config)
    run = open_job(session, session.jobs[0])

    def take_steps() -> None:
        for _ in range(STEPS_PER_TURN):
            run.trainer.train_step(run.batches)
        run.trainer.flush(run.batches.epochs)

    return take_steps


def their_steps(folder: Path, train: Path) -> Callable[[], object]:
    """Trainer.train for as many steps; it pads each batch to its longest text."""
    set_verbosity_error()  # that the head is new
    tokenizer = AutoTokenizer.from_pretrained(folder / "encoder")
    rows = [row.values for row in read_table(str(train)).rows]
    names = sorted({row["label"] for row in rows})
    examples = [
        {
            **tokenizer(row["text"], truncation=True, max_length=LONGEST),
            "labels": names.index(row["label"]),
        }
        for row in rows
    ]
    model = ElectraForSequenceClassification.from_pretrained(
        folder / "encoder", num_labels=len(names)
    )
    options = TrainingArguments(
        output_dir=str(folder / "theirs"),
        max_steps=STEPS_PER_TURN,
        per_device_train_batch_size=BATCH_SIZE,
        learning_rate=RATE,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,  # as without a GPU
    )
    trainer = TransformersTrainer(
        model, options, train_dataset=examples, data_collator=DataCollatorWithPadding(tokenizer)
    )
    trainer.remove_callback(PrinterCallback)
    return trainer.train


if __name__ == "__main__":
    main()
