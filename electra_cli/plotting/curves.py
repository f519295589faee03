"""Which curves are drawn, and how many of their points: what the page and the picture share.

Pure: columns of a log in, points out. Draws nothing and loads neither plotly nor matplotlib.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from electra_cli.metrics import VALIDATION_PREFIX
from electra_cli.plotting.run_log import Column, RunLog

# Lies near the start of what is written, and tells it from a file of the user's.
MARK = "electra plot"

# A curve with more values than two a bucket is thinned. A panel is some 400 pixels wide, so a
# thousand buckets leave detail to zoom into.
BUCKETS = 1_000

# Weight of the past in the smoothed line at first: calm, yet it follows a run of thirty rows.
SMOOTHING = 0.6


@dataclass(frozen=True)
class Axis:
    """What the curves can be drawn over."""

    key: str
    title: str
    column: str
    divisor: float = 1.0


@dataclass(frozen=True)
class Panel:
    """One figure: a line for training, marks for held-out text, a dotted line to compare with."""

    title: str
    note: str  # the unit, and what the dotted line is
    column: str
    reference: str | None = None
    is_smoothed: bool = True  # a schedule is drawn as it is

    @property
    def held_out(self) -> str:
        """The column of the same figure on held-out text."""
        return VALIDATION_PREFIX + self.column


@dataclass(frozen=True)
class Group:
    """Panels that belong together."""

    title: str
    panels: tuple[Panel, ...]


AXES = (
    Axis("steps", "steps", "step"),
    Axis("tokens", "tokens", "tokens_seen"),
    Axis("flops", "training FLOPs", "train_flops"),
    Axis("hours", "hours", "elapsed_seconds", divisor=3600.0),
)

_UNIGRAM = VALIDATION_PREFIX + "unigram_entropy"

GROUPS = (
    Group(
        "Losses",
        (
            Panel("MLM loss", "nats a token, over all chosen ones", "mlm_loss"),
            Panel(
                "MLM loss on [MASK] alone",
                "nats a token; dotted: unigram entropy",
                "mlm_masked_loss",
                _UNIGRAM,
            ),
            Panel(
                "RTD loss",
                "nats a token; dotted: best constant predictor",
                "rtd_loss",
                "rtd_constant_loss",
            ),
            Panel("Word loss", "nats a token, of restoring the corrupted text", "word_loss"),
        ),
    ),
    Group(
        "Generator",
        (
            Panel("MLM accuracy", "likeliest token equals the original", "mlm_accuracy"),
            Panel("Sampled accuracy", "sampled token equals the original", "sampled_accuracy"),
            Panel("Replaced fraction", "share of all tokens", "replaced_fraction"),
        ),
    ),
    Group(
        "Discriminator",
        (
            Panel("RTD AUC", "without [CLS] and [SEP]; 0.5 is chance", "rtd_content_auc"),
            Panel("RTD precision", "share of flagged tokens that are replaced", "rtd_precision"),
            Panel("RTD recall", "share of replaced tokens that are flagged", "rtd_recall"),
            Panel("Word accuracy", "restored token equals the original", "word_accuracy"),
        ),
    ),
    Group(
        "Training",
        (
            Panel("Learning rate", "as scheduled", "learning_rate", is_smoothed=False),
            Panel("Gradient norm", "before clipping", "grad_norm"),
            Panel("Tokens a second", "while training", "tokens_per_second"),
        ),
    ),
)


@dataclass(frozen=True)
class Points:
    """Values of a column and the rows of the log that they belong to."""

    rows: npt.NDArray[np.int64]
    values: Column


@dataclass(frozen=True)
class Curve:
    """A column's points; `means` are those that smoothing starts from.

    A short column has all its values in both. A long one is cut into BUCKETS of equal numbers of
    values: `points` keeps the lowest and the highest of each, and the first and last of all, and
    `means` has each bucket's mean at its middle row.
    """

    points: Points
    means: Points

    @property
    def thinned(self) -> bool:
        """Whether values were left out."""
        return self.points is not self.means


def thin(column: Column) -> Curve:
    """The curve of a column; values that are not finite are gaps."""
    rows = np.flatnonzero(np.isfinite(column))
    values = column[rows]
    if len(values) <= 2 * BUCKETS:
        points = Points(rows, values)
        return Curve(points, points)
    bounds = np.arange(BUCKETS + 1) * len(values) // BUCKETS
    starts, stops = bounds[:-1], bounds[1:]
    buckets = [values[start:stop] for start, stop in zip(starts, stops, strict=True)]
    lowest = starts + [bucket.argmin() for bucket in buckets]
    highest = starts + [bucket.argmax() for bucket in buckets]
    kept = np.unique(np.concatenate([lowest, highest, [0, len(values) - 1]]))
    means = Points(rows[(starts + stops) // 2], np.array([bucket.mean() for bucket in buckets]))
    return Curve(Points(rows[kept], values[kept]), means)


def smoothed(values: Sequence[float] | Column, weight: float) -> Column:
    """Exponential mean, its start without bias; `weight` in [0, 1) is that of the past.

    lines.js does the same.
    """
    result = []
    total = norm = 0.0
    for value in values:
        total = weight * total + value
        norm = weight * norm + 1.0
        result.append(total / norm)
    return np.array(result)


def has_values(panel: Panel, runs: Sequence[RunLog]) -> bool:
    """Whether any of the runs has a value of the panel's figure; its reference alone is none."""
    columns = (run.column(name) for run in runs for name in (panel.column, panel.held_out))
    return any(last(column) is not None for column in columns)


def last(column: Column) -> float | None:
    """The newest value of a column."""
    known = np.flatnonzero(np.isfinite(column))
    return float(column[known[-1]]) if known.size else None
