"""A tokenizer trained on a few lines of many scripts, and what transformers makes of it."""

import random
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Engine

TEXTS = [
    "The quick brown fox jumps over the lazy dog. " * 3,
    "Der schnelle braune Fuchs; Ärger über Öl, süße Grüße und Straßenbahnen.",
    "天地玄黄，宇宙洪荒。日月盈昃，辰宿列张。",
    "العربية لغة جميلة. هذه جملة أخرى بالعربية.",
    "emoji 🙂🚀 and a family 👩‍👩‍👧, café naïve Ångström",
    "a literal [MASK] and [SEP] and [CLS] and [PAD] and [UNK] in text",
    "tabs\tand\r\nline ends, \x00 control \x07 and\u00a0no-break and zero\u200bwidth",
    "combining e\u0301 a\u0308 한국어 ひらがなカタカナ ภาษาไทย",
]
SPECIAL = {"pad_token": "<pad>", "cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>"}


@pytest.fixture(scope="session")
def trained() -> Any:
    from electra_cli.preparing.vocabulary import train_tokenizer

    return train_tokenizer(TEXTS, vocab_size=600, cased=False)


@pytest.fixture(scope="session")
def tokenizer_folder(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`trained`, saved; not to be changed."""
    from electra_cli.data.tokenizer import save_tokenizer

    directory = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(trained, directory)
    return directory


@pytest.fixture(scope="session")
def theirs(tokenizer_folder: Path) -> Any:
    """`trained`, opened by transformers."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tokenizer_folder)


def encode(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """The ids of each text by TextEncoder."""
    import numpy as np

    from electra_cli.preparing.encoder import TextEncoder

    ids, lengths = TextEncoder(tokenizer).encode([text.encode() for text in texts])
    assert ids.dtype == np.uint16
    assert lengths.dtype == np.int64
    return [part.tolist() for part in np.split(ids, np.cumsum(lengths)[:-1])]


def encode_as_transformers(tokenizer: Any, text: str) -> list[int]:
    """The ids of a text by a tokenizer of transformers."""
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def long_text(kind: str) -> str:
    """Over 200,000 characters, so it is encoded in pieces."""
    draw = random.Random(kind)
    words = ["apple", "Äpfel", "a", "state-of-the-art", "(see", "p.", "12)", "[MASK]", "e\u0301"]
    if kind == "spaces":
        return " ".join(draw.choices(words, k=36_000))
    if kind == "lines":
        return "\n".join(
            " ".join(draw.choices(words, k=9)) + draw.choice(["", "  "]) for _ in range(5_000)
        )
    if kind == "chinese":
        return "".join(draw.choices("天地玄黄宇宙洪荒日月，。", k=220_000))
    assert kind == "no blanks"
    return ",".join(draw.choices(words, k=36_000)).replace(" ", "")


def fast_tokenizer(engine: Engine, **special: str) -> Any:
    """A tokenizer of transformers around any engine."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=engine, **special)
