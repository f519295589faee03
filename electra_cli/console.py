"""Everything a person sees in the terminal.

stdout carries data that a script can use; stderr carries talk. Progress bars are drawn on a
terminal only; elsewhere plain lines appear from time to time. Nothing here is imported by the
lower layers: they raise errors and return numbers.
"""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

PLAIN_EVERY_SECONDS = 30.0

_stderr = Console(stderr=True, highlight=False, soft_wrap=True)


def result(text: object) -> None:
    """Data for scripts, on stdout."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def talk(message: str) -> None:
    """A line for the person at the terminal."""
    _stderr.print(escape(message))


def hint(message: str) -> None:
    """What to do next."""
    _stderr.print(f"[cyan]{escape(message)}[/cyan]")


def warn(problem: str, hint: str) -> None:
    """Something to look at that stops nothing, and what to do about it."""
    _stderr.print(f"[yellow]warning:[/yellow] {escape(problem)}")
    _stderr.print(f"  [cyan]hint:[/cyan] {escape(hint)}")


def error(problem: str, hint: str) -> None:
    """A problem that the user can mend: two lines."""
    _stderr.print(f"[bold red]error:[/bold red] {escape(problem)}")
    _stderr.print(f"  [cyan]hint:[/cyan] {escape(hint)}")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A small table on stderr; the first column is left-aligned, the others right."""
    drawn = Table(
        title=escape(title),
        title_justify="left",
        title_style="bold",
        box=None,
        show_header=any(columns),
        padding=(0, 2),
    )
    for index, column in enumerate(columns):
        drawn.add_column(escape(column), justify="left" if index == 0 else "right")
    for row in rows:
        drawn.add_row(*(escape(cell) for cell in row))
    _stderr.print(drawn)


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
            talk(f"{self._description}: {text}")


class _DrawnLine:
    """A bar on a terminal."""

    def __init__(self, progress: Progress, description: str, total: float | None) -> None:
        self._progress = progress
        self._task = progress.add_task(escape(description), total=total, figures="")

    def update(self, completed: float, text: str) -> None:
        self._progress.update(self._task, completed=completed, figures=escape(text))


@contextmanager
def progress(description: str, total: float | None) -> Iterator[ProgressLine]:
    """A bar towards `total`, or a spinner where the total is not known (None)."""
    if not _stderr.is_terminal:
        yield _PlainLine(description)
        return
    shape = BarColumn(bar_width=10) if total is not None else SpinnerColumn()
    figures = TextColumn("{task.fields[figures]}")
    columns = (TextColumn("{task.description}"), shape, figures)
    with Progress(*columns, console=_stderr, transient=True) as drawn:
        yield _DrawnLine(drawn, description, total)
