"""What a training run says on the console."""

from electra_cli import console
from electra_cli.live import ProgressLine
from electra_cli.metrics import UNIGRAM_ENTROPY, Metrics, StepMetrics

_RTD_METRICS = ("loss", "constant_loss", "auc", "content_auc", "precision", "recall")


class TrainingProgress:
    """The progress line of a run, and a line or two per evaluation."""

    def __init__(self, line: ProgressLine, num_steps: int) -> None:
        self._line = line
        self._num_steps = num_steps
        self._figures = ""
        self._seconds_per_step: float | None = None
        self._last_row: StepMetrics | None = None

    def show_step(self, step: int) -> None:
        """A step is done."""
        left = ""
        if self._seconds_per_step is not None:
            seconds = (self._num_steps - step) * self._seconds_per_step
            left = f" · {console.format_duration(seconds)} left"
        self._line.update(step, f"{step:,}/{self._num_steps:,}{left}{self._figures}")

    def show_row(self, metrics: StepMetrics, held_out: Metrics | None) -> None:
        """A row was written."""
        if self._last_row is not None:
            seconds = metrics.elapsed_seconds - self._last_row.elapsed_seconds
            self._seconds_per_step = seconds / (metrics.step - self._last_row.step)
        self._last_row = metrics
        rate = metrics.train_flops / metrics.tokens_seen * metrics.tokens_per_second
        own = metrics.objective
        self._figures = (
            f" · mlm {_number(own.get('mlm_loss'))} · rtd {_number(own.get('rtd_loss'))}"
            f" · {metrics.tokens_per_second:,.0f} tokens/s"
            f" · {_percent(own.get('replaced_fraction'))} replaced · {rate / 1e9:,.0f} GFLOP/s"
        )
        if held_out is not None:
            console.talk(describe_evaluation(metrics.step, held_out))

    def rewind(self, step: int) -> None:
        """The run goes on from an earlier step."""
        self._last_row = None


def describe_evaluation(step: int, metrics: Metrics) -> str:
    """Two lines: how far both networks are from knowing frequencies alone."""
    gain = ""
    loss, unigram = metrics.get("mlm_masked_loss"), metrics[UNIGRAM_ENTROPY]
    if loss is not None and unigram is not None:
        gain = (
            f"MLM on [MASK] {loss:.3f} (unigram {unigram:.3f}, context gains {unigram - loss:+.3f})"
        )
    rtd = {name: _number(metrics.get(f"rtd_{name}")) for name in _RTD_METRICS}
    return (
        f"step {step:,} held-out: {gain}\n  RTD {rtd['loss']} "
        f"(constant {rtd['constant_loss']}) · AUC {rtd['auc']} (content {rtd['content_auc']}) · "
        f"precision {rtd['precision']} · recall {rtd['recall']} · "
        f"replaced {_percent(metrics.get('replaced_fraction'))}"
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
