"""The tables of the page, as HTML: settings, newest figures, events."""

from collections.abc import Iterable, Sequence
from html import escape

from electra_cli.plotting.curves import AXES, Group, newest_value
from electra_cli.plotting.look import MARK_LOOKS
from electra_cli.plotting.run_log import Column, Mark, RunLog
from electra_cli.plotting.settings import format_setting, option_names

_NONE = "–"


def settings_section(runs: Sequence[RunLog]) -> str:
    """The settings of every run: those that differ first, the others folded."""
    differing, same = option_names(runs)
    if not differing and not same:
        return ""
    if differing:
        head = f"<h2>Settings that differ</h2>{_settings(differing, runs)}"
        fold = f"Settings that are the same ({len(same)})"
    else:
        head = "<h2>Settings</h2>"
        fold = f"All {len(same)}" + (", the same in all runs" if len(runs) > 1 else "")
    # A run without config.yaml has no settings: take the values from one that has.
    known = max(runs, key=lambda run: len(run.settings))
    folded = f"<details><summary>{fold}</summary>{_settings(same, [known], 'value')}</details>"
    return f"<section>{head}{folded if same else ''}</section>"


def _settings(names: Sequence[str], runs: Sequence[RunLog], title: str | None = None) -> str:
    """A table with a column per run, headed `title` or the run's name."""
    heads = "".join(f'<th scope="col">{escape(title or run.name)}</th>' for run in runs)
    rows = (
        (name, [format_setting(r.settings[name]) if name in r.settings else _NONE for r in runs])
        for name in names
    )
    return table(f"<tr><th></th>{heads}</tr>", rows)


def figures_section(runs: Sequence[RunLog], groups: Sequence[Group]) -> str:
    """The newest figures of every run, in training and on held-out text."""
    heads = "".join(f'<th colspan="2" scope="colgroup">{escape(run.name)}</th>' for run in runs)
    kinds = '<th scope="col">training</th><th scope="col">held-out</th>' * len(runs)
    rows = [
        (axis.title, [c for r in runs for c in (_newest(r.column(axis.column), axis.divisor), "")])
        for axis in AXES
    ]
    for panel in (panel for group in groups for panel in group.panels):
        names = (panel.column, panel.held_out_column)
        rows.append((panel.title, [_newest(run.column(c)) for run in runs for c in names]))
    head = f"<tr><th></th>{heads}</tr><tr><th></th>{kinds}</tr>"
    return f"<section><h2>Newest figures</h2>{table(head, rows, 'pairs')}</section>"


def events_section(runs: Sequence[RunLog]) -> str:
    """The events of the runs, one per row; all checkpoints of a run share a row."""
    rows = [(run, mark) for run in runs for mark in run.marks if mark.kind != "checkpoint"]
    rows += [(run, mark) for run in runs if (mark := _checkpoints(run)) is not None]
    if not rows:
        return ""
    has_names = len(runs) > 1
    head = "".join(f'<th scope="col">{name}</th>' for name in ("step", "event", "time (UTC)"))
    body = "".join(
        f"<tr>{f'<td>{escape(run.name)}</td>' if has_names else ''}<td>{mark.step:,}</td>"
        f'<td class="text"><i class="{mark.kind}">{MARK_LOOKS[mark.kind].symbol.text}</i> '
        f"{_text(mark)}</td><td>{escape(mark.time.removesuffix('+00:00').replace('T', ' '))}</td>"
        "</tr>"
        for run, mark in rows
    )
    run_head = '<th scope="col">run</th>' if has_names else ""
    return (
        '<section><h2>What happened</h2><div class="scroll"><table class="events"><thead><tr>'
        f"{run_head}{head}</tr></thead><tbody>{body}</tbody></table></div></section>"
    )


def _text(mark: Mark) -> str:
    return escape(f"{mark.kind}: {mark.text}" if mark.text else mark.kind)


def _checkpoints(run: RunLog) -> Mark | None:
    """All checkpoints of a run as one mark, at the newest of them."""
    steps = [mark.step for mark in run.marks if mark.kind == "checkpoint"]
    if not steps:
        return None
    older = f"older ones at {', '.join(f'{step:,}' for step in steps[:-1])}"
    if len(steps) > 6:
        older = f"{len(steps) - 1} older ones from step {steps[0]:,} on"
    return Mark(steps[-1], "checkpoint", older if steps[:-1] else "")


def table(head: str, rows: Iterable[tuple[str, Sequence[str]]], kind: str = "") -> str:
    """A table as HTML: `head` is HTML, all cells are text; it scrolls within itself."""
    body = "".join(
        f'<tr><th scope="row">{escape(title)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for title, cells in rows
    )
    opening = f'<table class="{kind}">' if kind else "<table>"
    return f'<div class="scroll">{opening}<thead>{head}</thead><tbody>{body}</tbody></table></div>'


def _newest(column: Column, divisor: float = 1.0) -> str:
    value = newest_value(column)
    return _NONE if value is None else _number(value / divisor)


def _number(value: float) -> str:
    """Four digits; of a whole or a large number all digits before the decimal point."""
    is_count = abs(value) < 1e13 and (value == int(value) or abs(value) >= 1e3)
    return f"{value:,.0f}" if is_count else f"{value:#.4g}"
