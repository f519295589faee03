"""Everything a person sees in the terminal.

stdout carries data for scripts; stderr carries messages for people. The lower layers do not import
this module: they raise errors and return numbers. What is updated in place is in live.py.

Text is printed as it is, never read as markup, and control characters are shown as escapes: the
names of files, columns and runs may hold anything.
"""

import errno
import io
import json
import os
import re
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from electra_cli.errors import UserError

_NARROWEST = 20  # characters that leave something of a table
_WIDEST = 10_000  # characters of a table's line outside a terminal
WAIT_SECONDS = 1.0  # in silence
MAX_LINE_CHARS = 1_000  # of a problem or a hint, which may quote long names and lists of names

# They set colours, the title and the cursor of a terminal, or the direction of text. Line ends
# would break a message in two, and a lone surrogate cannot be printed.
_CONTROL_CHARACTERS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)

_GONE_ERRNOS = {errno.EIO, errno.EPIPE}


class _Stderr(io.TextIOBase):
    """sys.stderr, whose loss stops nothing: a run goes on, or saves, without its terminal."""

    @property
    def _file(self) -> TextIO:
        # A progress bar of rich puts a proxy, which prints through the bar, in its place. None: a
        # shell closed it with 2>&-.
        return getattr(sys.stderr, "rich_proxied_file", sys.stderr) or _nowhere()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._file.encoding

    def isatty(self) -> bool:
        return self._file.isatty()

    def fileno(self) -> int:
        return self._file.fileno()

    def write(self, text: str, /) -> int:
        with _losing(self._file):
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        with _losing(self._file):
            self._file.flush()


@cache
def _nowhere() -> TextIO:
    return Path(os.devnull).open("w")


@contextmanager
def _losing(file: TextIO) -> Iterator[None]:
    """Let writing to a closed terminal or to a pipe without reader, and all after it, do nothing.

    Text that finds no room on a disk waits in the file's buffer.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _GONE_ERRNOS:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, file.fileno())  # also for what is flushed when the process ends
            os.close(nowhere)


# A width of 0, as terminals say that do not know theirs, would print nothing at all.
if os.environ.get("COLUMNS", "").isdecimal() and int(os.environ["COLUMNS"]) < _NARROWEST:
    del os.environ["COLUMNS"]
_is_muted = False
_is_silent = False
stderr = Console(file=_Stderr(), highlight=False, soft_wrap=True)  # type: ignore[arg-type]


def escape(text: str) -> str:
    """Control characters as Python writes them: \\x1b, \\n, \\u202e."""
    return _CONTROL_CHARACTERS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def result(text: object) -> None:
    """A line of data for scripts, on stdout; a path comes out as the bytes that it has on disk."""
    if _is_silent:
        return
    with _explained_stdout():
        sys.stdout.flush()
        sys.stdout.buffer.write(os.fsencode(f"{text}\n"))
        sys.stdout.flush()


def result_json(value: object) -> None:
    """An object for scripts, as the only thing on stdout. Raises ValueError for NaN."""
    result(json.dumps(value, indent=1, allow_nan=False))


def result_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on stdout; a pipe or a file gets its lines whole and plain, whatever their width."""
    is_terminal = sys.stdout.isatty()
    width = None if is_terminal else _WIDEST
    out = Console(file=sys.stdout, force_terminal=is_terminal, width=width, highlight=False)
    with _explained_stdout():
        out.print(draw_table("", columns, rows))
        sys.stdout.flush()


@contextmanager
def _explained_stdout() -> Iterator[None]:
    """UserError where stdout cannot be written; a closed pipe is typer's to handle."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        # Python flushes stdout again at its end, and would print a traceback of its own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise UserError(
            f"stdout cannot be written: {error.strerror}", "check the file or pipe it goes to"
        ) from None


def talk(message: str) -> None:
    """One line or more for the person at the terminal."""
    if not _is_muted:
        print_lines(message)


def print_lines(message: str) -> None:
    """talk, even where it is muted."""
    stderr.print(Text("\n".join(map(escape, message.split("\n")))))


def hint(message: str) -> None:
    """What the person can do next."""
    if not _is_muted:
        stderr.print(Text(escape(message), style="cyan"))


@contextmanager
def announce_wait(message: str) -> Iterator[None]:
    """Say what is waited for, and for how long, if the block takes longer than a second."""
    timer = threading.Timer(WAIT_SECONDS, talk, (message,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def muted() -> Iterator[None]:
    """Print no talk, hints or warnings: for a trial of a search, whose folder keeps them."""
    global _is_muted  # noqa: PLW0603 - there is only one terminal
    _is_muted = True
    try:
        yield
    finally:
        _is_muted = False


@contextmanager
def silent() -> Iterator[None]:
    """Print nothing but errors: for all processes of a run but the first."""
    global _is_silent  # noqa: PLW0603 - there is only one terminal
    _is_silent = stderr.quiet = True
    warnings.simplefilter("ignore")
    try:
        yield
    finally:
        _is_silent = stderr.quiet = False


def warn(problem: str, hint: str, even_muted: bool = False) -> None:
    """A problem that does not stop the command, and what to do about it: two lines."""
    if even_muted or not _is_muted:
        _print_problem("warning:", "yellow", problem, hint)


def error(problem: str, hint: str) -> None:
    """A problem that the user can solve, and what to do about it: two lines."""
    stderr.quiet = False
    _print_problem("error:", "bold red", problem, hint)


def _print_problem(kind: str, style: str, problem: str, hint: str) -> None:
    stderr.print(Text.assemble((kind, style), " ", _shortened(problem)))
    stderr.print(Text.assemble("  ", ("hint:", "cyan"), " ", _shortened(hint)))


def _shortened(text: str) -> str:
    """A long text without its middle: a message's own words are at its beginning and its end."""
    half = MAX_LINE_CHARS // 2
    return escape(text if len(text) <= 2 * half else f"{text[:half]} ... {text[-half:]}")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A small table on stderr; the first column is left-aligned, the others right."""
    stderr.print(draw_table(title, columns, rows))


def draw_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """What table prints."""
    drawn = Table(
        title=Text(escape(title), style="bold") if title else None,
        title_justify="left",
        box=None,
        show_header=any(columns),
        padding=(0, 2),
    )
    for index, column in enumerate(columns):
        drawn.add_column(Text(escape(column)), justify="left" if index == 0 else "right")
    for row in rows:
        drawn.add_row(*(Text(escape(cell)) for cell in row))
    return drawn


def format_duration(seconds: float) -> str:
    """A duration in the unit that reads best: 45 s, 12 min, 7.5 h, 31.0 days, 4.0 years."""
    for size, unit in ((86_400 * 365, "years"), (86_400, "days"), (3_600, "h")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"


def format_bytes(count: float) -> str:
    """A size in the unit that reads best: 12 kB, 340 MB, 1.5 GB (powers of ten)."""
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:.0f} bytes"


def format_value(value: object, digits: int = 4) -> str:
    """A setting or a figure: a float with so many digits, null and true as YAML writes them."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)
