"""The numbers of a run: plain floats, one row of training_log.csv each.

Loads no torch, so that reading a log is quick. Losses are in nats per token, rates per second,
fractions and accuracies in [0, 1]. None means that there is no such number (no position was masked,
no token was replaced).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TypeAlias

# Metrics by name. The objective decides which exist (model/objectives); `loss` always does.
Metrics: TypeAlias = dict[str, float | None]

VALIDATION_PREFIX = "validation_"
UNIGRAM_ENTROPY = "unigram_entropy"  # of the training tokens: the loss of knowing frequencies alone


@dataclass(frozen=True)
class StepMetrics:
    """Means over the training tokens since the row before."""

    step: int  # completed optimizer steps
    epoch: float  # passes over the training documents
    tokens_seen: int  # real tokens, special ones included
    train_flops: float  # model FLOPs spent so far
    elapsed_seconds: float  # time spent training so far, over all resumes
    objective: Metrics
    learning_rate: float
    grad_norm: float  # of the last step, before clipping
    tokens_per_second: float

    @property
    def loss(self) -> float:
        """What was minimised."""
        loss = self.objective["loss"]
        assert loss is not None
        return loss


def first_row(names: Iterable[str], held_out: Metrics) -> Metrics:
    """The row of step 0, before anything is trained: held-out metrics alone.

    `names` are the objective's, so that the columns stand where those of later rows do.
    """
    counts = ("step", "epoch", "tokens_seen", "train_flops", "elapsed_seconds")
    row: Metrics = {}
    for field in fields(StepMetrics):
        if field.name == "objective":
            row |= dict.fromkeys(names)
        else:
            row[field.name] = 0 if field.name in counts else None
    return row | {VALIDATION_PREFIX + name: value for name, value in held_out.items()}


def log_row(step: StepMetrics, held_out: Metrics | None) -> Metrics:
    """One row of training_log.csv; `held_out` are means over held-out windows, if it is their turn.

    The seed fixes masks and noise of held-out windows, so the figures of two rows compare.
    """
    columns: Mapping[str, float | Metrics] = vars(step)
    row: Metrics = {}
    for name, value in columns.items():
        row |= value if isinstance(value, dict) else {name: value}
    if held_out is not None:
        row |= {VALIDATION_PREFIX + name: value for name, value in held_out.items()}
    return row
