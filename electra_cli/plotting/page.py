"""One HTML file with the curves of some runs, that needs nothing but a browser.

Plotly's JavaScript comes from the installed package and the data lies beside it, so the page opens
without a network. Python lays the panels and the table out; page.js draws and page.css colours, so
plotly.graph_objects, which takes as long to load as all the rest, is not needed.
"""

import json
import math
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from electra_cli.plotting.curves import (
    AXES,
    BUCKETS,
    GROUPS,
    MARK,
    SMOOTHING,
    Column,
    Curve,
    Panel,
    RunLog,
    has_values,
    last,
    thin,
)

_THINNING = (
    f"Long curves are cut into {BUCKETS:,} pieces: the faint line goes through the lowest and the "
    "highest value of each, the strong line through the means."
)


def write_page(path: Path, runs: Sequence[RunLog]) -> None:
    """Write the page of these runs; a page that is there is replaced, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(_page(runs), encoding="utf-8", errors="replace")
    partial.replace(path)


def _page(runs: Sequence[RunLog]) -> str:
    from plotly.offline import get_plotlyjs

    curves = [_curves(run) for run in runs]
    data = [_run_data(run, of_run) for run, of_run in zip(runs, curves, strict=True)]
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    thinned = any(curve.thinned for of_run in curves for curve in of_run.values())
    return Template(_asset("page.html")).substitute(
        mark=MARK,
        title=escape(title),
        style=_asset("page.css"),
        axes=_axis_inputs(runs),
        runs=_run_inputs(runs),
        smoothing=SMOOTHING,
        thinning=_THINNING if thinned else "",
        panels=_groups(runs),
        table=_table(runs),
        plotly=get_plotlyjs(),
        data=_json(data),
        script=_asset("page.js"),
    )


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _json(data: object) -> str:
    """JSON that cannot end the script element it lies in, whatever a run is called."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _columns(panel: Panel) -> tuple[str, ...]:
    """The columns that a panel draws."""
    return tuple(filter(None, (panel.column, panel.held_out, panel.reference)))


def _curves(run: RunLog) -> dict[str, Curve]:
    """The run's curves by column; a column without values has none."""
    wanted = {column for group in GROUPS for panel in group.panels for column in _columns(panel)}
    curves = {column: thin(run.column(column)) for column in sorted(wanted)}
    return {column: curve for column, curve in curves.items() if curve.points.rows}


def _run_data(run: RunLog, curves: dict[str, Curve]) -> dict[str, object]:
    """What page.js reads of a run: the axes at the rows that are drawn, and the curves over them.

    Values have six digits: a pixel needs three, and the page is read over slow lines too.
    """
    drawn = sorted({row for c in curves.values() for row in (*c.points.rows, *c.means.rows)})
    place = {row: index for index, row in enumerate(drawn)}

    def points(rows: Iterable[int], values: Iterable[float]) -> dict[str, object]:
        return {"at": [place[row] for row in rows], "y": [_rounded(value) for value in values]}

    x: dict[str, list[float | None]] = {}
    for axis in AXES:
        column = run.column(axis.column)
        x[axis.key] = [_scaled(column[row], axis.divisor) for row in drawn] if column else []
    return {
        "name": run.name,
        "x": x,
        "curves": {
            column: {
                "points": points(curve.points.rows, curve.points.values),
                "means": points(curve.means.rows, curve.means.values) if curve.thinned else None,
            }
            for column, curve in curves.items()
        },
    }


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _scaled(value: float | None, divisor: float) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value / divisor:.12g}")


def _axis_inputs(runs: Sequence[RunLog]) -> str:
    """The choice of the x axis; one that no run has is disabled."""
    inputs = []
    for index, axis in enumerate(AXES):
        known = any(last(run.column(axis.column)) is not None for run in runs)
        state = (" checked" if index == 0 else "") + ("" if known else " disabled")
        inputs.append(
            f'<label><input type="radio" name="x" value="{axis.key}"{state}>'
            f"<span>{axis.title}</span></label>"
        )
    return "".join(inputs)


def _run_inputs(runs: Sequence[RunLog]) -> str:
    """A box to hide a run by; one run has none."""
    if len(runs) == 1:
        return ""
    boxes = (
        f'<label title="{escape(run.name)}"><input type="checkbox" name="run" value="{index}" '
        f"checked><span>{escape(run.name)}</span></label>"
        for index, run in enumerate(runs)
    )
    return f'<fieldset class="runs"><legend>runs</legend>{"".join(boxes)}</fieldset>'


def _groups(runs: Sequence[RunLog]) -> str:
    """The panels for which a run has values."""
    sections = []
    for group in GROUPS:
        panels = [
            f'<figure data-training="{panel.column}" data-held-out="{panel.held_out}" '
            f'data-reference="{panel.reference or ""}" data-smooth="{panel.is_smoothed:d}">'
            f"<figcaption><b>{panel.title}</b><span>{panel.note}</span></figcaption>"
            '<p class="values"></p><div class="plot"></div></figure>'
            for panel in group.panels
            if has_values(panel, runs)
        ]
        if panels:
            grid = f'<div class="grid">{"".join(panels)}</div>'
            sections.append(f"<section><h2>{group.title}</h2>{grid}</section>")
    return "\n".join(sections)


def _table(runs: Sequence[RunLog]) -> str:
    """The last figures of every run: of training and of held-out text."""
    names = "".join(f'<th colspan="2" scope="colgroup">{escape(run.name)}</th>' for run in runs)
    kinds = '<th scope="col">training</th><th scope="col">held-out</th>' * len(runs)
    rows = []
    for axis in AXES:
        cells = (_cell(run.column(axis.column), axis.divisor) for run in runs)
        rows.append((axis.title, "".join(f"{cell}<td></td>" for cell in cells)))
    for group in GROUPS:
        for panel in group.panels:
            if has_values(panel, runs):
                cells = (
                    _cell(run.column(panel.column)) + _cell(run.column(panel.held_out))
                    for run in runs
                )
                rows.append((panel.title, "".join(cells)))
    body = "".join(f'<tr><th scope="row">{title}</th>{cells}</tr>' for title, cells in rows)
    return (
        f"<table><thead><tr><th></th>{names}</tr><tr><th></th>{kinds}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def _cell(column: Column, divisor: float = 1.0) -> str:
    value = last(column)
    return f"<td>{'–' if value is None else _number(value / divisor)}</td>"


def _number(value: float) -> str:
    """Four digits; of counts all before the point."""
    is_count = abs(value) < 1e13 and (value == int(value) or abs(value) >= 1e3)
    return f"{value:,.0f}" if is_count else f"{value:#.4g}"
