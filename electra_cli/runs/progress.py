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
        replaced = own.get("replaced_fraction")
        losses = {name: own.get(f"{name}_loss") for name in ("mlm", "rtd", "word")}
        parts = [f"{name} {_number(loss)}" for name, loss in losses.items() if loss is not None]
        parts.append(f"{metrics.tokens_per_second:,.0f} tokens/s")
        if replaced is not None:
            parts.append(f"{_percent(replaced)} replaced")
        parts.append(f"{rate / 1e9:,.0f} GFLOP/s")
        self._figures = "".join(f" · {part}" for part in parts)
        if held_out is not None:
            console.talk(describe_evaluation(metrics.step, held_out))

    def rewind(self, step: int) -> None:
        """The run goes on from an earlier step."""
        self._last_row = None


def describe_evaluation(step: int, metrics: Metrics) -> str:
    """Two lines: how far both networks are from knowing frequencies alone."""
    loss, unigram = metrics.get("mlm_masked_loss"), metrics[UNIGRAM_ENTROPY]
    first, second = [], []
    if loss is not None and unigram is not None:
        first.append(
            f"MLM on [MASK] {loss:.3f} (unigram {unigram:.3f}, context gains {unigram - loss:+.3f})"
        )
    if metrics.get("rtd_loss") is not None:
        rtd = {name: _number(metrics.get(f"rtd_{name}")) for name in _RTD_METRICS}
        second += [
            f"RTD {rtd['loss']} (constant {rtd['constant_loss']})",
            f"AUC {rtd['auc']} (content {rtd['content_auc']})",
            f"precision {rtd['precision']}",
            f"recall {rtd['recall']}",
        ]
    if metrics.get("word_loss") is not None:
        accuracy = _percent(metrics.get("word_accuracy"))
        second.append(f"words {_number(metrics['word_loss'])} ({accuracy} right)")
    if metrics.get("replaced_fraction") is not None:
        second.append(f"replaced {_percent(metrics['replaced_fraction'])}")
    lines = [" · ".join(parts) for parts in (first, second) if parts]
    return f"step {step:,} held-out: " + "\n  ".join(lines)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
