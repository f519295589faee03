"""What objectives count on the device, and the metrics that are made of the counts.

Sums are scalars of the device, without gradient, so that nothing waits for them; metrics are plain
numbers, once the sums of many steps have come to the host.
"""

# Shapes: T tokens of a packed batch.

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from electra_cli.metrics import Metrics

Sums = dict[str, Tensor]  # [] each
MetricGroup = Callable[[Mapping[str, float]], Metrics]


def count(number: int, device: torch.device) -> Tensor:
    """A number that the host knows as a tensor [] of the device; nothing waits for it."""
    return torch.full((), float(number), device=device)


def mean(sums: Mapping[str, float], value: str, divisor: str) -> float | None:
    """sums[value] / sums[divisor]; None where nothing was counted."""
    total = sums.get(divisor, 0.0)
    return sums[value] / total if total else None


def mlm_metrics(sums: Mapping[str, float]) -> Metrics:
    """Of a masked language model: losses in nats per token, accuracies in [0, 1]."""
    return {
        "mlm_loss": mean(sums, "mlm_loss", "predicted"),
        # At positions that show [MASK]; the 15% that keep their token are left out.
        "mlm_masked_loss": mean(sums, "mlm_masked_loss", "shown_masks"),
        "mlm_accuracy": mean(sums, "mlm_correct", "predicted"),
        # The share of samples that equal the original token.
        "sampled_accuracy": mean(sums, "sampled_correct", "masked"),
    }


def corruption_metrics(sums: Mapping[str, float]) -> Metrics:
    """Of corrupted text: how often a token differs from the original."""
    return {"replaced_fraction": mean(sums, "replaced", "tokens")}


def rtd_metrics(sums: Mapping[str, float]) -> Metrics:
    """Of replaced token detection: loss in nats per judged token, shares in [0, 1]."""
    replaced = mean(sums, "rtd_replaced", "judged")
    return {
        "rtd_loss": mean(sums, "rtd_loss", "judged"),
        # The loss of the best constant predictor.
        "rtd_constant_loss": None if replaced is None else entropy(replaced),
        "rtd_accuracy": mean(sums, "rtd_correct", "judged"),
        "rtd_precision": mean(sums, "rtd_found", "rtd_flagged"),
        "rtd_recall": mean(sums, "rtd_found", "rtd_replaced"),
    }


def word_metrics(sums: Mapping[str, float]) -> Metrics:
    """Of restoring words in corrupted text: loss in nats per word, accuracy in [0, 1]."""
    return {
        "word_loss": mean(sums, "word_loss", "words"),
        "word_accuracy": mean(sums, "word_correct", "words"),
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
