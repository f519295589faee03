"""What a training run says on the console."""

from electra_cli import console
from electra_cli.metrics import EvalMetrics, StepMetrics
from electra_cli.runs.plan import format_duration


class TrainingReport:
    """Says on the console how the run goes."""

    def __init__(self, line: console.ProgressLine, num_steps: int) -> None:
        self._line = line
        self._num_steps = num_steps
        self._figures = ""
        self._seconds_per_step: float | None = None
        self._logged: StepMetrics | None = None

    def stepped(self, step: int) -> None:
        """A step is done."""
        left = ""
        if self._seconds_per_step is not None:
            seconds = (self._num_steps - step) * self._seconds_per_step
            left = f" · {format_duration(seconds)} left"
        self._line.update(step, f"{step:,}/{self._num_steps:,}{left}{self._figures}")

    def logged(self, metrics: StepMetrics, validation: EvalMetrics | None) -> None:
        """A row was written."""
        if self._logged is not None:
            seconds = metrics.elapsed_seconds - self._logged.elapsed_seconds
            self._seconds_per_step = seconds / (metrics.step - self._logged.step)
        self._logged = metrics
        rate = metrics.train_flops / metrics.tokens_seen * metrics.tokens_per_second
        self._figures = (
            f" · mlm {_number(metrics.mlm_loss)} · rtd {_number(metrics.rtd_loss)}"
            f" · {_percent(metrics.replaced_fraction)} replaced"
            f" · {metrics.tokens_per_second:,.0f} tokens/s · {rate / 1e9:,.0f} GFLOP/s"
        )
        if validation is not None:
            console.talk(describe_evaluation(metrics.step, validation))


def describe_evaluation(step: int, metrics: EvalMetrics) -> str:
    """Two lines: how far both networks are from knowing frequencies alone."""
    gain = ""
    if metrics.mlm_masked_loss is not None:
        gained = metrics.unigram_entropy - metrics.mlm_masked_loss
        gain = (
            f"MLM on [MASK] {metrics.mlm_masked_loss:.3f} (unigram {metrics.unigram_entropy:.3f}, "
            f"context gains {gained:+.3f})"
        )
    return (
        f"step {step:,} held-out: {gain}\n  RTD {_number(metrics.rtd_loss)} "
        f"(constant {_number(metrics.rtd_constant_loss)}) · AUC {_number(metrics.rtd_auc)} "
        f"(content {_number(metrics.rtd_content_auc)}) · "
        f"precision {_number(metrics.rtd_precision)} · recall {_number(metrics.rtd_recall)} · "
        f"replaced {_percent(metrics.replaced_fraction)}"
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
