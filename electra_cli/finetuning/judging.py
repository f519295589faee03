"""How a discriminator judges text: each token's probability of being replaced, a score per text."""

# Shapes: n tokens of a text, special ones left out.

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from electra_cli import console
from electra_cli.errors import DataError
from electra_cli.finetuning.batches import split_outputs
from electra_cli.finetuning.columns import find_columns
from electra_cli.finetuning.inputs import InputBuilder
from electra_cli.finetuning.predicting import Model
from electra_cli.finetuning.rows import Table
from electra_cli.finetuning.session import run_network
from electra_cli.finetuning.settings import FinetuneConfig
from electra_cli.finetuning.tasks.task import name_of
from electra_cli.training.device import Compute

_PAIRS = ("good", "bad")  # columns of minimal pairs


@dataclass(frozen=True)
class Judged:
    """How likely each token of a text was replaced, as a discriminator sees it."""

    tokens: list[str]
    replaced: NDArray[np.float64]  # [n] probabilities
    log_original: NDArray[np.float64]  # [n] log(1 - that)

    @property
    def total(self) -> float:
        """The sum over the tokens: of two texts, the better one has the higher sum.

        One pass of log(1 - sigma(z)); special tokens are left out.
        """
        return float(self.log_original.sum())

    @property
    def mean(self) -> float:
        """The mean over the tokens, for texts of different lengths; 0 for a text without any."""
        return float(self.log_original.mean()) if len(self.log_original) else 0.0


def judge_texts(model: Model, texts: Sequence[str], compute: Compute) -> list[Judged]:
    """A discriminator's view of each text; a long one is read in windows, side by side."""
    builder = InputBuilder(model.tokenizer, model.max_seq_length)
    windows = list(builder.documents(texts))
    logits = run_network(model.network, "token", windows, compute)
    ids: dict[int, list[int]] = defaultdict(list)
    values: dict[int, list[float]] = defaultdict(list)
    for window, part in zip(windows, split_outputs(logits, windows, False), strict=True):
        ids[window.example].extend(window.ids[window.slots].tolist())
        values[window.example].extend(part.tolist())
    judged = []
    for index in range(len(texts)):
        z = np.array(values[index], dtype=np.float64)
        tokens = list(model.tokenizer.convert_ids_to_tokens(ids[index]))
        judged.append(Judged(tokens, np.exp(-np.logaddexp(0, -z)), -np.logaddexp(0, z)))
    return judged


def judge_table(
    model: Model, table: Table, text: str | None, id: str | None, compute: Compute
) -> tuple[list[str], list[list[Any]]]:
    """(columns, rows): each text's score, and each token's probability of being replaced.

    Of a table of minimal pairs, both scores, and on the console how often the good one wins.
    """
    if text is None and set(_PAIRS) <= set(table.columns):
        if id is not None:
            raise DataError(
                "--id does nothing: rows of good and bad are told apart by their texts",
                hint="leave --id out, or choose one column to judge with --text",
            )
        return _judge_pairs(model, table, compute)
    config = FinetuneConfig(task="classify", text=text, id=id)
    columns = find_columns(table, config, needs_label=False)
    texts = [_text(row.values.get(columns.text), row.where) for row in table.rows]
    names = [name_of(row, columns, n) for n, row in enumerate(table.rows)]
    judged = judge_texts(model, texts, compute)
    return ["id", "text", "sum", "mean", "tokens", "replaced"], [
        [n, t, j.total, j.mean, j.tokens, [round(float(p), 4) for p in j.replaced]]
        for n, t, j in zip(names, texts, judged, strict=True)
    ]


def _judge_pairs(model: Model, table: Table, compute: Compute) -> tuple[list[str], list[list[Any]]]:
    good, bad = (
        judge_texts(model, [_text(r.values.get(name), r.where) for r in table.rows], compute)
        for name in _PAIRS
    )
    rows = [
        [row.values["good"], row.values["bad"], a.total, b.total, a.mean, b.mean]
        for row, a, b in zip(table.rows, good, bad, strict=True)
    ]
    by_sum = float(np.mean([row[2] > row[3] for row in rows]))
    by_mean = float(np.mean([row[4] > row[5] for row in rows]))
    console.talk(
        f"good above bad in {by_sum:.1%} of {len(rows):,} pairs by sum, {by_mean:.1%} by mean"
    )
    columns = ["good", "bad", "good_sum", "bad_sum", "good_mean", "bad_mean"]
    return columns, rows


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{where}: {str(value)[:40]!r} is no text", hint="name it with --text")
    return value
