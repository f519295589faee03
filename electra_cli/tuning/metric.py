"""The metrics that can rank trials, and why other numbers of a run cannot.

A number compares trials if it is measured on the same text for all of them. On the yardstick it is:
every discriminator is scored on one corrupted text (yardstick.py). The held-out windows and masks
of all trials are those of the preset, whatever max_seq_length or mask_fraction a trial trains with,
so the generators' losses on them compare, too, and so do probes, whose texts are fixed. The
discriminator's figures on samples of the trial's own generator do not: each setting that changes
the generator changes how hard they are.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from electra_cli.errors import ConfigError
from electra_cli.probing.probes import Probes


@dataclass(frozen=True)
class Metric:
    """A figure of a trial; trials that differ in one of `incomparable_across` do not compare."""

    source: Literal["yardstick", "held_out"]
    field: str  # of DiscriminatorScore, or the name of a held-out metric
    direction: Literal["minimize", "maximize"]
    incomparable_across: tuple[str, ...] = ()
    reason: str = ""
    probe: Literal["labelled", "pairs"] | None = None  # what run.probes has to hold for it

    @property
    def name(self) -> str:
        """What `--metric` and the tables call it."""
        return f"yardstick_{self.field}" if self.source == "yardstick" else self.field

    def check_probes(self, probes: Probes | None) -> None:
        """Raises ConfigError if the preset's probes do not measure it."""
        if self.probe is not None and (probes is None or getattr(probes, self.probe) is None):
            columns = "text and label" if self.probe == "labelled" else "good and bad"
            raise ConfigError(
                f"--metric {self.name} needs a file with columns {columns}",
                hint="name it in the preset: run.probes: [FILE]",
            )


EVERY_PARAMETER = ("*",)
_OWN_SAMPLES = (
    "its labels come from the trial's own generator, and a weaker generator makes it easier"
)


def _on_own_samples(field: str, direction: Literal["minimize", "maximize"]) -> Metric:
    return Metric("held_out", field, direction, EVERY_PARAMETER, _OWN_SAMPLES)


_ALL = (
    Metric("yardstick", "rtd_loss", "minimize"),
    Metric("yardstick", "rtd_auc", "maximize"),
    Metric("yardstick", "rtd_content_auc", "maximize"),
    Metric("held_out", "mlm_loss", "minimize"),
    Metric("held_out", "mlm_masked_loss", "minimize"),
    Metric("held_out", "mlm_accuracy", "maximize"),
    Metric(
        "held_out",
        "sampled_accuracy",
        "maximize",
        ("objective.temperature",),
        "a lower temperature samples the most probable tokens, whatever the generator learned",
    ),
    Metric(
        "held_out",
        "loss",
        "minimize",
        EVERY_PARAMETER,
        f"it includes the RTD loss: {_OWN_SAMPLES}",
    ),
    _on_own_samples("rtd_loss", "minimize"),
    _on_own_samples("rtd_accuracy", "maximize"),
    _on_own_samples("rtd_precision", "maximize"),
    _on_own_samples("rtd_recall", "maximize"),
    _on_own_samples("rtd_auc", "maximize"),
    _on_own_samples("rtd_content_auc", "maximize"),
    Metric("held_out", "probe_accuracy", "maximize", probe="labelled"),
    Metric("held_out", "pairs_discriminator", "maximize", probe="pairs"),
    Metric("held_out", "pairs_generator", "maximize", probe="pairs"),
)
METRICS = {metric.name: metric for metric in _ALL}


def select_metric(name: str, parameters: Iterable[str]) -> Metric:
    """The metric of that name. Raises ConfigError if it does not compare across the space."""
    usable = [m.name for m in _ALL if m.incomparable_across != EVERY_PARAMETER]
    if name not in METRICS:
        raise ConfigError(f"there is no metric {name!r}", hint=f"--metric: {', '.join(usable)}")
    metric = METRICS[name]
    varied = set(parameters)
    if metric.incomparable_across != EVERY_PARAMETER:
        varied &= set(metric.incomparable_across)
    if varied:
        on_yardstick = f"yardstick_{name}"
        instead = on_yardstick if on_yardstick in METRICS else " or ".join(usable[:2])
        raise ConfigError(
            f"--metric {name} does not compare trials of different {', '.join(sorted(varied))}: "
            f"{metric.reason}",
            hint=f"--metric {instead}",
        )
    return metric
