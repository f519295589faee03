"""Which curves are drawn, and how many of their points: what the page and the picture share.

Pure: columns of a log in, points out. Draws nothing and loads neither plotly nor matplotlib.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from electra_cli.metrics import VALIDATION_PREFIX
from electra_cli.plotting.run_log import Column, RunLog

# Stands in the first bytes of every page and picture: a file without it is the user's own, and is
# not overwritten.
SIGNATURE = "electra plot"

# A curve of more than two values per bucket is thinned. A panel is about 400 pixels wide, so a
# thousand buckets leave detail to zoom into.
BUCKETS = 1_000

# Weight of the past in the smoothed line when a page opens: low enough for a run of thirty rows.
SMOOTHING = 0.6


@dataclass(frozen=True)
class Axis:
    """A quantity that can be chosen for the x axis: a column of the log over `divisor`."""

    key: str
    title: str
    column: str
    divisor: float = 1.0


@dataclass(frozen=True)
class Panel:
    """One figure: a line for training, symbols for held-out text, a dotted reference line."""

    title: str
    subtitle: str  # the unit, and what the dotted line is
    column: str
    reference: str | None = None
    is_smoothed: bool = True  # False for a schedule, which has no noise

    @property
    def held_out_column(self) -> str:
        """The column of the same figure, measured on held-out text."""
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
            Panel("MLM loss", "nats per token, over all chosen tokens", "mlm_loss"),
            Panel(
                "MLM loss on [MASK] alone",
                "nats per token; dotted: unigram entropy",
                "mlm_masked_loss",
                _UNIGRAM,
            ),
            Panel(
                "RTD loss",
                "nats per token; dotted: best constant predictor",
                "rtd_loss",
                "rtd_constant_loss",
            ),
            Panel("Word loss", "nats per token, of restoring the corrupted text", "word_loss"),
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
        "Probes",
        (
            Panel("Labels found", "accuracy with frozen layers, the best layer", "probe_accuracy"),
            Panel("Labels found, last layer", "accuracy", "probe_last_accuracy"),
            Panel("Best layer", "0: the embeddings", "probe_layer"),
            Panel(
                "Pairs, discriminator", "good text above bad; 0.5: chance", "pairs_discriminator"
            ),
            Panel("Pairs, generator", "good text above bad; 0.5: chance", "pairs_generator"),
            Panel("Pairs, masked LM", "good text above bad; 0.5: chance", "pairs_masked_lm"),
        ),
    ),
    Group(
        "Training",
        (
            Panel("Learning rate", "as scheduled", "learning_rate", is_smoothed=False),
            Panel("Gradient norm", "before clipping", "grad_norm"),
            Panel("Tokens per second", "while training", "tokens_per_second"),
        ),
    ),
)

# Columns that get no panel: the x axes, and figures that a panel shows in a better form.
_NOT_DRAWN = {
    *(axis.column for axis in AXES),
    *("epoch", "loss", "rtd_accuracy", "rtd_auc"),
}


@dataclass(frozen=True)
class Points:
    """Values of a column and the rows of the log that they belong to."""

    rows: npt.NDArray[np.int64]
    values: Column


@dataclass(frozen=True)
class Curve:
    """The points of a column that are drawn; smoothing starts from `means`.

    A short column has all its values in both. A long one is cut into BUCKETS of equally many
    values: `points` keeps the lowest and the highest of each bucket, and the first and the last
    value of all; `means` has each bucket's mean at its middle row.
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
    """Exponential mean, without bias at its start; `weight` in [0, 1) is that of the past.

    lines.js computes the same.
    """
    result = []
    total = norm = 0.0
    for value in values:
        total = weight * total + value
        norm = weight * norm + 1.0
        result.append(total / norm)
    return np.array(result)


def groups_to_draw(runs: Sequence[RunLog]) -> list[Group]:
    """The panels for which a run has values, by group.

    Columns that no panel knows, such as those of a new objective, come last, under their own name.
    """
    panels = [panel for group in GROUPS for panel in group.panels]
    listed = _NOT_DRAWN.union(*map(panel_columns, panels))
    known = {column.removeprefix(VALIDATION_PREFIX) for column in listed}
    found = (name.removeprefix(VALIDATION_PREFIX) for run in runs for name in run.columns)
    others = tuple(Panel(name, "", name) for name in dict.fromkeys(found) if name not in known)
    drawn = (
        Group(group.title, tuple(panel for panel in group.panels if has_values(panel, runs)))
        for group in (*GROUPS, Group("Other figures", others))
    )
    return [group for group in drawn if group.panels]


def panel_columns(panel: Panel) -> tuple[str, ...]:
    """The columns that a panel draws."""
    return tuple(filter(None, (panel.column, panel.held_out_column, panel.reference)))


def has_values(panel: Panel, runs: Sequence[RunLog]) -> bool:
    """Whether a run has a value of the panel's metric; its reference line alone does not count."""
    names = (panel.column, panel.held_out_column)
    return any(newest_value(run.column(name)) is not None for run in runs for name in names)


def newest_value(column: Column) -> float | None:
    """The last finite value of a column; None if it has none."""
    known = np.flatnonzero(np.isfinite(column))
    return float(column[known[-1]]) if known.size else None
