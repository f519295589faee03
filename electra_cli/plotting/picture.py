"""The panels of the page as a PNG on white, for a README or a message.

Drawn by matplotlib, which needs no browser; without pyplot, which has global state, so that
training can call it too.
"""

import io
import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from electra_cli.disk import write_bytes_atomically
from electra_cli.plotting.curves import (
    SIGNATURE,
    SMOOTHING,
    Panel,
    Points,
    groups_to_draw,
    has_values,
    newest_value,
    smoothed,
    thin,
)
from electra_cli.plotting.look import DASHES, LIGHT, MARK_LOOKS, SYMBOLS
from electra_cli.plotting.run_log import Column, RunLog
from electra_cli.plotting.settings import labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

_COLUMNS = 3
_POINTS_PER_PIXEL = 0.75
_MAX_SYMBOLS = 40  # as in lines.js

_DOTS: dict[str, Any] = {"linewidth": 1.2, "linestyle": ":"}


def write_picture(path: Path, runs: Sequence[RunLog]) -> None:
    """Write the picture of these runs over steps; an older one is replaced, whole or not at all."""
    os.environ["MPLBACKEND"] = "agg"  # matplotlib does not load where Jupyter's is not installed
    # Where its cache cannot be written it works in a temporary folder, and says so in 400 letters.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    panels = [panel for group in groups_to_draw(runs) for panel in group.panels]
    rows = -(-len(panels) // _COLUMNS)
    looks = [_Look(index, is_single=len(runs) == 1) for index in range(len(runs))]
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    figure = Figure(figsize=(13, 0.8 + 2.5 * rows), dpi=120, layout=layout)
    canvas = FigureCanvasAgg(figure)
    end = max([1.0, *(newest_value(run.column("step")) or 0 for run in runs)])
    end = max([end, *(mark.step for run in runs for mark in run.marks)])
    for place, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, _COLUMNS, place)
        _frame(axes, panel)
        for run, look in zip(runs, looks, strict=True):
            _draw(axes, panel, run, look)
            if has_values(panel, [run]):
                _draw_marks(axes, run, look)
        axes.set_xlim(0, end * 1.015)
    _add_legend(figure, runs, looks)
    content = io.BytesIO()
    with warnings.catch_warnings():
        # A character that the font lacks is drawn as a box; the user can do nothing about it.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        # It draws once, savefig twice.
        canvas.print_png(content, metadata={"Software": SIGNATURE})  # type: ignore[no-untyped-call]
    write_bytes_atomically(path, content.getvalue())


class _Look:
    """How a run is drawn, as in lines.js: a single run has one colour for training and another for
    held-out text; several runs have a colour, a dash and a symbol each."""

    def __init__(self, index: int, is_single: bool) -> None:
        self.is_single = is_single
        self.training = LIGHT.series[index % len(LIGHT.series)]
        self.held_out = LIGHT.series[1] if is_single else self.training
        self.reference = LIGHT.muted if is_single else self.training
        self.symbol = SYMBOLS[index % len(SYMBOLS)].matplotlib
        lengths = [length * _POINTS_PER_PIXEL for length in DASHES[index % len(DASHES)]]
        dash: Any = (0, lengths) if lengths else "-"
        self.line: dict[str, Any] = {"color": self.training, "linewidth": 1.5, "linestyle": dash}
        self.marks: dict[str, Any] = {
            "color": self.held_out,
            "linewidth": 0.75,
            "linestyle": dash,
            "marker": self.symbol,
            "markersize": 5,
            "markeredgecolor": LIGHT.surface,
            "markeredgewidth": 0.7,
        }

    def mark_color(self, kind: str) -> str:
        """The colour of an event or a checkpoint."""
        if not self.is_single:
            return self.training
        return LIGHT.warning if kind == "warning" else LIGHT.muted


def _frame(axes: "Axes", panel: Panel) -> None:
    title = axes.set_title(
        f"{_printable(panel.title)}\n", loc="left", fontsize=11, fontweight="bold", color=LIGHT.text
    )
    title.set_parse_math(False)
    axes.text(
        0,
        1.04,
        panel.subtitle,
        transform=axes.transAxes,
        fontsize=8.5,
        color=LIGHT.muted,
        va="bottom",
    )
    axes.set_xlabel("steps", fontsize=9, color=LIGHT.muted)
    axes.grid(color=LIGHT.rule, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=9, labelcolor=LIGHT.muted)
    axes.locator_params(nbins=6)
    _shorten_ticks(axes.xaxis)
    _shorten_ticks(axes.yaxis)


def _shorten_ticks(axis: "Axis") -> None:
    """Label an axis up to 10,000 or more as 5k, 10k; a smaller one as 500, 1000."""
    from matplotlib.ticker import EngFormatter

    thousands = EngFormatter(sep="")

    def short(value: float, _: float) -> str:
        return thousands(value) if max(axis.get_view_interval()) >= 1e4 else f"{value:.4g}"

    axis.set_major_formatter(short)


def _draw(axes: "Axes", panel: Panel, run: RunLog, look: _Look) -> None:
    """The lines of one run, as lines.js draws them."""
    steps = run.column("step")
    weight = SMOOTHING if panel.is_smoothed else 0.0

    def line(points: Points, values: Column, **style: Any) -> None:
        axes.plot(steps[points.rows], values, **style)

    training = thin(run.column(panel.column))
    raw, means = training.points, training.means
    if training.thinned or weight > 0:
        line(raw, raw.values, color=look.training, linewidth=0.6, alpha=0.35)
    line(means, smoothed(means.values, weight), **look.line)

    held_out = thin(run.column(panel.held_out_column)).points
    every = max(1, -(-len(held_out.rows) // _MAX_SYMBOLS))
    line(held_out, held_out.values, **look.marks, markevery=every)

    if panel.reference is not None:
        reference = thin(run.column(panel.reference)).means
        line(reference, smoothed(reference.values, weight), color=look.reference, **_DOTS)


def _draw_marks(axes: "Axes", run: RunLog, look: _Look) -> None:
    """The events and checkpoints of the run, on the frame of a panel."""
    for mark in run.drawn_marks():
        mark_look, color = MARK_LOOKS[mark.kind], look.mark_color(mark.kind)
        axes.plot(
            mark.step,
            float(mark_look.at_top),
            transform=axes.get_xaxis_transform(),
            clip_on=False,
            marker=mark_look.symbol.matplotlib,
            markersize=5,
            color=color,
            markeredgewidth=0,
        )
        if mark_look.has_line:
            dash = ":" if mark.kind == "warning" else "--"
            axes.axvline(mark.step, color=color, linewidth=0.75, linestyle=dash, alpha=0.6)


def _add_legend(figure: "Figure", runs: Sequence[RunLog], looks: Sequence[_Look]) -> None:
    """Above the panels: a run's name and its kinds of line; of several runs their names, and the
    settings that differ."""
    from matplotlib.lines import Line2D

    if len(runs) == 1:
        name = figure.suptitle(
            _printable(runs[0].name), x=0.01, ha="left", fontweight="bold", color=LIGHT.text
        )
        name.set_parse_math(False)
        keys: list[tuple[str, Line2D]] = [
            ("training", Line2D([], [], **looks[0].line)),
            ("held-out", Line2D([], [], **looks[0].marks)),
            ("reference", Line2D([], [], color=looks[0].reference, **_DOTS)),
        ]
    else:
        keys = [
            (
                _printable(f"{run.name}  {label}".rstrip()),
                Line2D([], [], **look.line, marker=look.symbol),
            )
            for run, label, look in zip(runs, labels(runs), looks, strict=True)
        ]
    present = {mark.kind for run in runs for mark in run.drawn_marks()}
    keys += [
        (
            kind,
            Line2D(
                [],
                [],
                linewidth=0,
                marker=look.symbol.matplotlib,
                markersize=5,
                color=looks[0].mark_color(kind) if len(runs) == 1 else LIGHT.muted,
            ),
        )
        for kind, look in MARK_LOOKS.items()
        if kind in present
    ]
    legend = figure.legend(
        [line for _, line in keys],
        [""] * len(keys),
        loc="outside upper right" if len(runs) == 1 else "outside upper left",
        ncols=len(keys) if len(runs) == 1 else 2,
        frameon=False,
        fontsize=9,
        labelcolor=LIGHT.muted,
    )
    for text, (label, _) in zip(legend.get_texts(), keys, strict=True):
        text.set_parse_math(False)  # a run may be called $1, or _1, which a legend leaves out
        text.set_text(label)


def _printable(name: str) -> str:
    """The name on one line: characters that cannot be printed are replaced."""
    return "".join(character if character.isprintable() else "\ufffd" for character in name)
