"""The main curves of some runs as a PNG, for a README or a chat.

Looks like the page on a light background. Drawn without pyplot: nothing global changes, so training
can call it too.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from electra_cli.plotting.curves import (
    GROUPS,
    MARK,
    SMOOTHING,
    Panel,
    Points,
    RunLog,
    has_values,
    last,
    smoothed,
    thin,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = ("mlm_masked_loss", "rtd_loss", "rtd_content_auc", "learning_rate")
_PANELS = tuple(panel for group in GROUPS for panel in group.panels if panel.column in _COLUMNS)

# The light colours of page.css.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_TEXT, _MUTED, _RULE = "#1c2430", "#667085", "#e3e6eb"

_LINE: dict[str, Any] = {"linewidth": 1.6}
_DOTS: dict[str, Any] = {"linewidth": 1.2, "linestyle": ":"}
_MARKS: dict[str, Any] = {
    "linewidth": 0.8,
    "marker": "o",
    "markersize": 4,
    "markeredgecolor": "white",
    "markeredgewidth": 0.6,
}


def write_picture(path: Path, runs: Sequence[RunLog]) -> None:
    """Write the picture of these runs over steps; one that is there is replaced, or left whole."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    panels = [panel for panel in _PANELS if has_values(panel, runs)]
    rows = (len(panels) + 1) // 2
    layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.1)
    figure = Figure(figsize=(10, 0.6 + 2.8 * rows), dpi=144, layout=layout)
    FigureCanvasAgg(figure)
    for place, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, 2, place)
        _frame(axes, panel)
        for index, run in enumerate(runs):
            _draw(axes, panel, run, _Colors(index, alone=len(runs) == 1))
        axes.set_xlim(0, max(last(run.column("step")) or 0 for run in runs) * 1.015 or 1)
    _name(figure, runs)
    partial = path.with_name(path.name + ".partial")
    figure.savefig(partial, format="png", metadata={"Software": MARK})
    partial.replace(path)


class _Colors:
    """One run: a colour for training, another for held-out text. Several: a colour a run."""

    def __init__(self, index: int, alone: bool) -> None:
        self.training = _COLORS[index % len(_COLORS)]
        self.held_out = _COLORS[1] if alone else self.training
        self.reference = _MUTED if alone else self.training


def _frame(axes: "Axes", panel: Panel) -> None:
    from matplotlib.ticker import EngFormatter

    axes.set_title(panel.title, loc="left", fontsize=11, fontweight="bold", color=_TEXT)
    axes.set_title(panel.note, loc="right", fontsize=8, color=_MUTED)
    axes.set_xlabel("steps", fontsize=9, color=_MUTED)
    axes.grid(color=_RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=9, labelcolor=_MUTED)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.4g}")


def _draw(axes: "Axes", panel: Panel, run: RunLog, colors: _Colors) -> None:
    """The lines of one run, as page.js draws them."""
    steps = run.column("step")
    weight = SMOOTHING if panel.is_smoothed else 0.0

    def over(points: Points) -> list[float]:
        return [steps[row] or 0.0 for row in points.rows]

    training = thin(run.column(panel.column))
    raw, means = training.points, training.means
    if training.thinned or weight > 0:
        axes.plot(over(raw), raw.values, color=colors.training, linewidth=0.6, alpha=0.35)
    values = smoothed(means.values, weight)
    axes.plot(over(means), values, color=colors.training, **_LINE)

    held_out = thin(run.column(panel.held_out)).points
    axes.plot(over(held_out), held_out.values, color=colors.held_out, **_MARKS)

    if panel.reference is not None:
        reference = thin(run.column(panel.reference)).means
        values = smoothed(reference.values, weight)
        axes.plot(over(reference), values, color=colors.reference, **_DOTS)


def _name(figure: "Figure", runs: Sequence[RunLog]) -> None:
    """The run's name and what its lines are, or the names of the runs."""
    from matplotlib.lines import Line2D

    if len(runs) == 1:
        name = figure.suptitle(runs[0].name, x=0.01, ha="left", fontweight="bold", color=_TEXT)
        name.set_parse_math(False)
        colors = _Colors(0, alone=True)
        keys = {
            "training": Line2D([], [], color=colors.training, **_LINE),
            "held-out": Line2D([], [], color=colors.held_out, **_MARKS),
            "reference": Line2D([], [], color=colors.reference, **_DOTS),
        }
    else:
        keys = {
            run.name: Line2D([], [], color=_Colors(index, alone=False).training, **_LINE)
            for index, run in enumerate(runs)
        }
    legend = figure.legend(
        list(keys.values()),
        [""] * len(keys),
        loc="outside upper right",
        ncols=min(len(keys), 4),
        frameon=False,
        fontsize=9,
        labelcolor=_MUTED,
    )
    for text, label in zip(legend.get_texts(), keys, strict=True):
        text.set_parse_math(False)  # a run may be called $1, or _1, which a legend leaves out
        text.set_text(label)
