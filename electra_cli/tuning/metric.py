"""What trials may be ranked by, and why some numbers of a run rank nothing.

A number compares across trials if every trial is asked the same question. The yardstick asks
every discriminator about one corrupted text (yardstick.py), and the held-out windows and masks of
all trials are those of the preset, whatever max_seq_length or mask_fraction a trial trains with.
So the generators' losses on them compare. What does not: the discriminator's figures on samples of
the trial's own generator, which whatever trains the generator makes easier or harder.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from electra_cli.errors import ConfigError

DEFAULT_METRIC = "yardstick_rtd_loss"


@dataclass(frozen=True)
class Metric:
    """A figure of a trial; `broken_by` are the parameters that change what it asks."""

    source: Literal["yardstick", "held_out"]
    field: str  # of YardstickScore or EvalMetrics
    direction: Literal["minimize", "maximize"]
    broken_by: tuple[str, ...] = ()
    reason: str = ""


EVERY_PARAMETER = ("*",)
_OWN_SAMPLES = (
    "its labels come from the trial's own generator, and a weaker generator makes it easier"
)


def _own(field: str, direction: Literal["minimize", "maximize"]) -> Metric:
    return Metric("held_out", field, direction, EVERY_PARAMETER, _OWN_SAMPLES)


METRICS: dict[str, Metric] = {
    DEFAULT_METRIC: Metric("yardstick", "rtd_loss", "minimize"),
    "yardstick_rtd_auc": Metric("yardstick", "rtd_auc", "maximize"),
    "yardstick_rtd_content_auc": Metric("yardstick", "rtd_content_auc", "maximize"),
    "mlm_loss": Metric("held_out", "mlm_loss", "minimize"),
    "mlm_masked_loss": Metric("held_out", "mlm_masked_loss", "minimize"),
    "mlm_accuracy": Metric("held_out", "mlm_accuracy", "maximize"),
    "sampled_accuracy": Metric(
        "held_out",
        "sampled_accuracy",
        "maximize",
        ("objective.temperature",),
        "a lower temperature samples the most probable tokens, whatever the generator learned",
    ),
    "loss": Metric(
        "held_out",
        "loss",
        "minimize",
        EVERY_PARAMETER,
        f"it adds up both losses by their weights, and of the RTD loss {_OWN_SAMPLES}",
    ),
    "rtd_loss": _own("rtd_loss", "minimize"),
    "rtd_accuracy": _own("rtd_accuracy", "maximize"),
    "rtd_precision": _own("rtd_precision", "maximize"),
    "rtd_recall": _own("rtd_recall", "maximize"),
    "rtd_auc": _own("rtd_auc", "maximize"),
    "rtd_content_auc": _own("rtd_content_auc", "maximize"),
}


def select_metric(name: str, parameters: Iterable[str]) -> Metric:
    """The metric of that name. Raises ConfigError if it does not compare across the space."""
    comparing = [key for key, metric in METRICS.items() if metric.broken_by != EVERY_PARAMETER]
    if name not in METRICS:
        raise ConfigError(f"there is no metric {name!r}", hint=f"--metric: {', '.join(comparing)}")
    metric = METRICS[name]
    varied = list(parameters)
    broken = varied if metric.broken_by == EVERY_PARAMETER else set(varied) & set(metric.broken_by)
    if broken:
        instead = f"yardstick_{name}"
        raise ConfigError(
            f"--metric {name} does not compare trials of different {', '.join(sorted(broken))}: "
            f"{metric.reason}",
            hint=f"--metric {instead if instead in METRICS else ' or '.join(comparing[:2])}",
        )
    return metric
