"""Everything a person sees in the terminal.

stdout carries data that a script can use; stderr carries talk. Progress bars are drawn on a
terminal only; elsewhere plain lines appear from time to time. Nothing here is imported by the
lower layers: they raise errors and return numbers. Text is shown as it is, never read as markup,
and what would steer the terminal is made visible: names of files, columns and runs come from
elsewhere.
"""

import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

PLAIN_EVERY_SECONDS = 30.0
MAX_LINE_CHARS = 1_000  # of a problem or a hint: names and lists of names can be of any length

# Colours, titles and the cursor are steered by control characters, the direction of text by the
# signs for it, and a line or a lone surrogate would spoil what comes after.
_STEERING = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)

_is_muted = False
_stderr = Console(stderr=True, highlight=False, soft_wrap=True)


def _visible(text: str) -> str:
    """Characters that steer as Python writes them: \\x1b, \\n, \\u202e."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def result(text: object) -> None:
    """Data for scripts, on stdout: a path byte for byte, whatever its encoding."""
    sys.stdout.flush()
    sys.stdout.buffer.write(os.fsencode(f"{text}\n"))
    sys.stdout.flush()


def talk(message: str) -> None:
    """A line or more for the person at the terminal."""
    if not _is_muted:
        _say(message)


def _say(message: str) -> None:
    _stderr.print(Text("\n".join(map(_visible, message.split("\n")))))


def hint(message: str) -> None:
    """What to do next."""
    if not _is_muted:
        _stderr.print(Text(_visible(message), style="cyan"))


@contextmanager
def muted() -> Iterator[None]:
    """A run inside a search: without talk, hints and warnings, which its folder keeps."""
    global _is_muted  # noqa: PLW0603 - the terminal is one, too
    _is_muted = True
    try:
        yield
    finally:
        _is_muted = False


def warn(problem: str, hint: str) -> None:
    """Something to look at that stops nothing, and what to do about it."""
    if not _is_muted:
        _print_problem("warning:", "yellow", problem, hint)


def error(problem: str, hint: str) -> None:
    """A problem that the user can mend: two lines."""
    _print_problem("error:", "bold red", problem, hint)


def _print_problem(kind: str, style: str, problem: str, hint: str) -> None:
    _stderr.print(Text.assemble((kind, style), " ", _shortened(problem)))
    _stderr.print(Text.assemble("  ", ("hint:", "cyan"), " ", _shortened(hint)))


def _shortened(text: str) -> str:
    """Its beginning and its end, where a message's own words are."""
    half = MAX_LINE_CHARS // 2
    return _visible(text if len(text) <= 2 * half else f"{text[:half]} ... {text[-half:]}")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A small table on stderr; the first column is left-aligned, the others right."""
    _stderr.print(_draw_table(title, columns, rows))


def _draw_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    drawn = Table(
        title=Text(_visible(title), style="bold"),
        title_justify="left",
        box=None,
        show_header=any(columns),
        padding=(0, 2),
    )
    for index, column in enumerate(columns):
        drawn.add_column(Text(_visible(column)), justify="left" if index == 0 else "right")
    for row in rows:
        drawn.add_row(*(Text(_visible(cell)) for cell in row))
    return drawn


class Board(Protocol):
    """A table that stays in place."""

    def show(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Draw the table in place of the one before."""


class _NoBoard:
    """Log files and pipes get plain lines instead."""

    def show(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        pass


class _DrawnBoard:
    """The table on a terminal, below whatever is printed meanwhile."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        self._live.update(_draw_table(title, columns, rows), refresh=True)


@contextmanager
def board() -> Iterator[Board]:
    """A table that is drawn again as it changes, with progress bars below it; terminals only."""
    if not _stderr.is_terminal:
        yield _NoBoard()
        return
    with Live(console=_stderr, transient=True) as live:
        yield _DrawnBoard(live)


class ProgressLine(Protocol):
    """Where a command says how far it is."""

    def update(self, completed: float, text: str) -> None:
        """`completed` of the total, and the figures beside it."""


class _PlainLine:
    """A line every PLAIN_EVERY_SECONDS, for log files and pipes."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._shown_at = time.monotonic()

    def update(self, completed: float, text: str) -> None:
        if time.monotonic() - self._shown_at >= PLAIN_EVERY_SECONDS:
            self._shown_at = time.monotonic()
            _say(f"{self._description}: {text}")


class _DrawnLine:
    """A bar on a terminal."""

    def __init__(self, progress: Progress, description: str, total: float | None) -> None:
        self._progress = progress
        self._task = progress.add_task(_visible(description), total=total, figures="")

    def update(self, completed: float, text: str) -> None:
        self._progress.update(self._task, completed=completed, figures=_visible(text))


@contextmanager
def progress(description: str, total: float | None) -> Iterator[ProgressLine]:
    """A bar towards `total`, or a spinner where the total is not known (None)."""
    if not _stderr.is_terminal:
        yield _PlainLine(description)
        return
    shape = BarColumn(bar_width=10) if total is not None else SpinnerColumn()
    figures = TextColumn("{task.fields[figures]}", markup=False)
    columns = (TextColumn("{task.description}", markup=False), shape, figures)
    with Progress(*columns, console=_stderr, transient=True) as drawn:
        yield _DrawnLine(drawn, description, total)
