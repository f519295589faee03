"""Small labelled files in the words of the test corpus, and a tiny encoder in memory."""

import json
import random
from pathlib import Path

import numpy as np
import torch
from command_line import WORDS
from transformers import ElectraConfig, ElectraModel

from electra_cli.batch import LabelledBatch
from electra_cli.finetuning.inputs import Window, pack
from electra_cli.model.encoders import EncoderWeights
from electra_cli.model.heads import HeadSpec

SPECS = {
    "sequence": HeadSpec("sequence", ("a", "b", "c"), "single_label_classification"),
    "token": HeadSpec("token", ("O", "B-X")),
    "span": HeadSpec("span", ()),
}


def sentences(count: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(3, 9))) for _ in range(count)]


def write_classes(path: Path, count: int = 40, seed: int = 0) -> Path:
    """CSV with `text` and `label`: whether "the" or "value" comes first."""
    rows = [
        f"{'the' if n % 2 else 'value'} {text}" for n, text in enumerate(sentences(count, seed))
    ]
    lines = [f"{text},{'odd' if n % 2 else 'even'}" for n, text in enumerate(rows)]
    path.write_text("text,label\n" + "\n".join(lines) + "\n")
    return path


def write_pairs(path: Path, count: int = 40) -> Path:
    texts = sentences(2 * count, seed=1)
    rows = [
        {"text": a, "text_pair": a if n % 2 else b, "label": "same" if n % 2 else "other"}
        for n, (a, b) in enumerate(zip(texts[::2], texts[1::2], strict=True))
    ]
    return write_jsonl(path, rows)


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def tiny_encoder(seed: int = 0, **changes: object) -> EncoderWeights:
    torch.manual_seed(seed)
    sizes = {
        "vocab_size": 200,
        "embedding_size": 24,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "initializer_range": 0.2,  # wide enough for attention to matter
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    model = ElectraModel(ElectraConfig(**{**sizes, **changes}))
    return EncoderWeights(model.config, model.state_dict())


def random_windows(count: int, seed: int) -> list[Window]:
    """Inputs of 3 to 31 ids, a second segment in each, [CLS] as the only slot."""
    draw = np.random.default_rng(seed)
    windows = []
    for n in range(count):
        ids = np.array([2, *draw.integers(5, 200, size=draw.integers(1, 30)), 3], dtype=np.int32)
        windows.append(Window(ids, (np.arange(len(ids)) > 4).astype(np.int8), [0], n))
    return windows


def labelled_batch(kind: str) -> LabelledBatch:
    """Nine windows; of tags, every second token is a slot."""
    windows = random_windows(9, seed=7)
    if kind == "token":
        windows = [w._replace(slots=list(range(1, len(w.ids), 2))) for w in windows]
    return pack(windows, [np.zeros(len(w.slots), dtype=np.int64) for w in windows])
