"""What is updated in place on a terminal: progress bars and tables.

A log file, a pipe and a notebook's cell get a plain line at intervals instead.
"""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.live import Live
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from electra_cli import console

PLAIN_EVERY_SECONDS = 60.0
_BAR_FROM_WIDTH = 100  # columns; in a narrower terminal the figures need the room


def _can_draw() -> bool:
    """Whether stderr is a terminal on which the cursor moves.

    rich takes any output for one where FORCE_COLOR is set. Jupyter sets it, gives commands a
    terminal, and shows what they print as it comes; JPY_PARENT_PID tells its kernels.
    """
    is_terminal = console.stderr.is_terminal and console.stderr.file.isatty()
    is_notebook = "JPY_PARENT_PID" in os.environ
    return is_terminal and not console.stderr.is_dumb_terminal and not is_notebook


class LiveTable(Protocol):
    """A table that is updated in place."""

    def show(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Replace the table by this one."""


class _NoTable:
    """For log files and pipes: nothing, since plain lines say the same there."""

    def show(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        pass


class _DrawnTable:
    """The table at the bottom of a terminal; other messages appear above it."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        self._live.update(console.draw_table(title, columns, rows), refresh=True)


@contextmanager
def live_table() -> Iterator[LiveTable]:
    """A table that is updated in place, with progress bars below it; on a terminal only."""
    if not _can_draw():
        yield _NoTable()
        return
    with Live(console=console.stderr, transient=True) as live:
        yield _DrawnTable(live)


class ProgressLine(Protocol):
    """How far a command has come."""

    def update(self, completed: float, text: str) -> None:
        """Show that `completed` of the total is done, and `text` beside it."""


class _PlainLine:
    """For log files and pipes: a line every PLAIN_EVERY_SECONDS."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._printed_at = time.monotonic()

    def update(self, completed: float, text: str) -> None:
        if time.monotonic() - self._printed_at >= PLAIN_EVERY_SECONDS:
            self._printed_at = time.monotonic()
            console.print_lines(f"{self._description}: {text}")


class _Figures(ProgressColumn):
    """The figures beside a bar, cut at the terminal's width: the only column that gives way."""

    def __init__(self) -> None:
        super().__init__(Column(no_wrap=False))

    def render(self, task: Task) -> Text:
        """Called by rich."""
        return Text(task.fields["figures"], no_wrap=True, overflow="ellipsis")


class _DrawnLine:
    """A progress bar on a terminal."""

    def __init__(self, progress: Progress, description: str, total: float | None) -> None:
        self._progress = progress
        self._task = progress.add_task(console.escape(description), total=total, figures="")

    def update(self, completed: float, text: str) -> None:
        self._progress.update(self._task, completed=completed, figures=console.escape(text))


@contextmanager
def progress_line(description: str, total: float | None) -> Iterator[ProgressLine]:
    """A progress bar towards `total`; a spinner if the total is not known (None)."""
    if not _can_draw():
        yield _PlainLine(description)
        return
    columns: list[ProgressColumn] = [TextColumn("{task.description}", markup=False)]
    if total is None:
        columns.append(SpinnerColumn())
    elif console.stderr.width >= _BAR_FROM_WIDTH:
        columns.append(BarColumn(bar_width=10))
    with Progress(*columns, _Figures(), console=console.stderr, transient=True) as drawn:
        yield _DrawnLine(drawn, description, total)
