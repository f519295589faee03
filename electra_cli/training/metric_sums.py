"""Sums over the steps since the last row of the log, kept on the device until it is due."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from electra_cli.model.objectives.sums import PretrainSums


class MetricWindow:
    """Adds up a window of steps without ever waiting for the device."""

    def __init__(self, device: torch.device) -> None:
        # float64 counts tokens exactly; Apple's GPUs have none.
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.sums = torch.zeros(len(PretrainSums._fields), dtype=dtype, device=device)
        self.num_tokens = 0
        self.num_masked = 0

    def add(self, sums: PretrainSums, num_tokens: int, num_masked: int) -> None:
        """One micro-batch."""
        self.sums += torch.stack([value.to(self.sums.dtype) for value in sums])
        self.num_tokens += num_tokens
        self.num_masked += num_masked

    def reset(self) -> None:
        """Begin the next window."""
        self.sums.zero_()
        self.num_tokens = self.num_masked = 0


def mean_metrics(
    sums: Sequence[float], num_tokens: int, num_masked: int
) -> dict[str, float | None]:
    """Means by the names that StepMetrics and EvalMetrics share; None where the count is 0.

    `sums` are those of MetricWindow, on the host.
    """
    total: dict[str, float] = dict(zip(PretrainSums._fields, sums, strict=True))

    def share(value: float, count: float) -> float | None:
        return value / count if count else None

    reads_samples = total["judged"] > 0 or total["words"] > 0
    judged_replaced = share(total["rtd_replaced"], total["judged"])
    return {
        "mlm_loss": share(total["mlm_loss"], total["predicted"]),
        "mlm_masked_loss": share(total["mlm_masked_loss"], total["shown_masks"]),
        "mlm_accuracy": share(total["mlm_correct"], total["predicted"]),
        "sampled_accuracy": share(total["sampled_correct"], num_masked),
        "replaced_fraction": share(total["replaced"], num_tokens) if reads_samples else None,
        "rtd_loss": share(total["rtd_loss"], total["judged"]),
        "rtd_constant_loss": None if judged_replaced is None else entropy(judged_replaced),
        "rtd_accuracy": share(total["rtd_correct"], total["judged"]),
        "rtd_precision": share(total["rtd_found"], total["rtd_flagged"]),
        "rtd_recall": share(total["rtd_found"], total["rtd_replaced"]),
        "word_loss": share(total["word_loss"], total["words"]),
        "word_accuracy": share(total["word_correct"], total["words"]),
    }


def entropy(probability: float) -> float:
    """Nats of a coin: the least loss of a predictor that knows only how often it is true."""
    if probability in (0.0, 1.0):
        return 0.0
    rest = 1.0 - probability
    return -probability * math.log(probability) - rest * math.log(rest)


def area_under_curve(scores: Tensor, labels: Tensor) -> float | None:
    """Chance that a positive scores above a negative, ties counted half; scores, labels [T].

    None without both kinds.
    """
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return None
    _, place, counts = torch.unique(scores, return_inverse=True, return_counts=True)
    ends = counts.cumsum(0).double()
    mean_rank = ends - (counts.double() - 1) / 2
    rank_sum = float(mean_rank[place][labels].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)
