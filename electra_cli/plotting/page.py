"""One HTML file with the curves of some runs, which needs nothing but a browser.

Plotly's JavaScript, from the installed package, and the data are in the file, so the page opens
without a network. Python writes the panels and the tables as HTML; lines.js computes what is drawn,
readout.js shows the values at the pointer, and page.js connects both with the form.
plotly.graph_objects is not used: loading it takes as long as all the rest.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from electra_cli.disk import write_bytes_atomically
from electra_cli.plotting.curves import (
    AXES,
    BUCKETS,
    SIGNATURE,
    SMOOTHING,
    Axis,
    Curve,
    Group,
    Points,
    groups_to_draw,
    newest_value,
    panel_columns,
    thin,
)
from electra_cli.plotting.look import DARK, DASHES, LIGHT, MARK_LOOKS, SYMBOLS
from electra_cli.plotting.run_log import Column, RunLog
from electra_cli.plotting.settings import labels
from electra_cli.plotting.tables import events_section, figures_section, settings_section

_SCRIPTS = ("lines.js", "readout.js", "page.js")


def write_page(path: Path, runs: Sequence[RunLog], reload_seconds: int | None = None) -> None:
    """Write the page of these runs; an older page is replaced, whole or not at all.

    With `reload_seconds` the page reloads itself at that interval, to follow a run in training.
    """
    write_bytes_atomically(path, _page(runs, reload_seconds).encode(errors="replace"))


def _page(runs: Sequence[RunLog], reload_seconds: int | None) -> str:
    from plotly.offline import get_plotlyjs

    groups = groups_to_draw(runs)
    curves = [_curves(run, groups) for run in runs]
    data = {
        "runs": [_run_data(run, of_run) for run, of_run in zip(runs, curves, strict=True)],
        "dashes": DASHES,
        "symbols": [asdict(symbol) for symbol in SYMBOLS],
        "marks": {kind: asdict(look) for kind, look in MARK_LOOKS.items()},
        "reloadSeconds": reload_seconds,
    }
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    return Template(_asset("page.html")).substitute(
        signature=SIGNATURE,
        title=escape(title),
        light=LIGHT.css(),
        dark=DARK.css(),
        style=_asset("page.css"),
        marks=_mark_key(runs),
        live=f"Follows the run: reloads every {reload_seconds} s." if reload_seconds else "",
        axes=_axis_inputs(runs),
        runs=_run_inputs(runs),
        smoothing=SMOOTHING,
        thinning=_thinning(runs, curves),
        panels=_sections(groups),
        settings=settings_section(runs),
        figures=figures_section(runs, groups),
        events=events_section(runs),
        plotly=get_plotlyjs(),
        data=_json(data),
        script="".join(_asset(name) for name in _SCRIPTS),
    )


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _json(data: object) -> str:
    """JSON that cannot close the script element around it, whatever name a run has."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _curves(run: RunLog, groups: Sequence[Group]) -> dict[str, Curve]:
    """The run's curves by column; a column without values has none."""
    panels = [panel for group in groups for panel in group.panels]
    wanted = sorted({column for panel in panels for column in panel_columns(panel)})
    curves = {column: thin(run.column(column)) for column in wanted}
    return {column: curve for column, curve in curves.items() if curve.points.rows.size}


def _thinning(runs: Sequence[RunLog], curves: Sequence[dict[str, Curve]]) -> str:
    """A sentence that says how long curves were thinned; empty if none was."""
    if not any(curve.thinned for of_run in curves for curve in of_run.values()):
        return ""
    rows = max(len(run.column("step")) for run in runs)
    return (
        f"Thinned: the longest log has {rows:,} rows. Long curves are cut into {BUCKETS:,} pieces "
        "of equally many values: the faint line goes through the lowest and the highest value of "
        "each piece, so that no peak is lost, and the strong line through the means."
    )


def _run_data(run: RunLog, curves: dict[str, Curve]) -> dict[str, object]:
    """A run's data for the scripts: the axes at the rows that are drawn, and the curves over them.

    Values have six digits: a pixel needs three, and more would make the file larger.
    """
    parts = [part for curve in curves.values() for part in (curve.points, curve.means)]
    drawn = np.unique(np.concatenate([part.rows for part in parts]))

    def points(part: Points) -> dict[str, object]:
        return {"at": np.searchsorted(drawn, part.rows).tolist(), "y": _rounded(part.values, 6)}

    x: dict[str, list[float | None]] = {}
    for axis in AXES:
        column = run.column(axis.column)
        x[axis.key] = _rounded(column[drawn] / axis.divisor, 12) if column.size else []
    return {
        "name": run.name,
        "x": x,
        "curves": {
            column: {
                "points": points(curve.points),
                "means": points(curve.means) if curve.thinned else None,
            }
            for column, curve in curves.items()
        },
        "marks": _marks(run),
    }


def _marks(run: RunLog) -> list[dict[str, Any]]:
    """The marks of a run with their position on every axis."""
    marks = run.drawn_marks()
    steps = run.column("step")
    at = [mark.step for mark in marks]
    places = {axis.key: _places(axis, at, steps, run.column(axis.column)) for axis in AXES}
    return [
        {
            "step": mark.step,
            "kind": mark.kind,
            "text": mark.text,
            "x": {key: column[index] for key, column in places.items()},
        }
        for index, mark in enumerate(marks)
    ]


def _places(axis: Axis, at: Sequence[int], steps: Column, column: Column) -> list[float | None]:
    """Positions of the steps `at` on an axis, between the rows of the log; step 0 lies at 0."""
    if column is steps:
        return list(at)  # exact, also after the newest row
    known = np.isfinite(column)
    if not known.any():
        return [None] * len(at)
    xs, ys = np.append(0, steps[known]), np.append(0, column[known] / axis.divisor)
    return _rounded(np.interp(at, xs, ys), 12)


def _rounded(values: Column, digits: int) -> list[float | None]:
    """The values with so many significant digits; None for those that are not finite."""
    return [float(f"{v:.{digits}g}") if np.isfinite(v) else None for v in values.tolist()]


def _mark_key(runs: Sequence[RunLog]) -> str:
    """The legend of the marks that occur in these runs."""
    present = {mark.kind for run in runs for mark in run.drawn_marks()}
    return "".join(
        f'<span><i class="{kind}">{look.symbol.text}</i>{kind}</span>'
        for kind, look in MARK_LOOKS.items()
        if kind in present
    )


def _axis_inputs(runs: Sequence[RunLog]) -> str:
    """The inputs that choose the x axis; an axis that no run has is disabled."""
    inputs = []
    for index, axis in enumerate(AXES):
        known = any(newest_value(run.column(axis.column)) is not None for run in runs)
        state = (" checked" if index == 0 else "") + ("" if known else " disabled")
        inputs.append(
            f'<label><input type="radio" name="x" value="{axis.key}"{state}>'
            f"<span>{axis.title}</span></label>"
        )
    return "".join(inputs)


def _run_inputs(runs: Sequence[RunLog]) -> str:
    """The legend of several runs: for each a checkbox, its name, and the settings that differ."""
    if len(runs) == 1:
        return ""
    boxes = (
        f'<label><input type="checkbox" name="run" value="{index}" checked>'
        f"<b>{escape(run.name)}</b><span>{escape(label)}</span></label>"
        for index, (run, label) in enumerate(zip(runs, labels(runs), strict=True))
    )
    return f'<fieldset class="runs">{"".join(boxes)}</fieldset>'


def _sections(groups: Sequence[Group]) -> str:
    """A section for each group, with a figure for each of its panels."""
    sections = []
    for group in groups:
        figures = [
            f'<figure data-training="{escape(panel.column)}" '
            f'data-held-out="{escape(panel.held_out_column)}" '
            f'data-reference="{panel.reference or ""}" data-smooth="{panel.is_smoothed:d}">'
            f"<figcaption><b>{escape(panel.title)}</b><span>{panel.subtitle}</span></figcaption>"
            '<p class="values"></p><div class="plot"></div></figure>'
            for panel in group.panels
        ]
        grid = f'<div class="grid">{"".join(figures)}</div>'
        sections.append(f"<section><h2>{group.title}</h2>{grid}</section>")
    return "\n".join(sections)
