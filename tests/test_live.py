"""Where a bar is drawn, and where plain lines take its place."""

import os
import pty
import subprocess
import sys

import pytest

from electra_cli import console, live
from electra_cli.live import progress_line


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_progress_line_is_no_markup(capsys, monkeypatch, is_terminal):
    monkeypatch.setattr(live, "_can_draw", lambda: is_terminal)
    monkeypatch.setattr(console.stderr, "_force_terminal", is_terminal)
    monkeypatch.setattr(console.stderr, "_environ", {"TERM": "xterm", "COLUMNS": "99"})
    monkeypatch.setattr(console.stderr, "is_interactive", is_terminal)
    monkeypatch.setattr(live, "PLAIN_EVERY_SECONDS", 0.0)
    with progress_line("[red]r \x1b]0;x", None) as line:
        line.update(1, "[bold]b \x1b]0;y")
    shown = capsys.readouterr().err
    assert "[bold]b \\x1b]0;y" in shown
    assert "[red]r \\x1b]0;x" in shown


HIDE_CURSOR = b"\x1b[?25l"
LINE = """
from electra_cli import live
live.PLAIN_EVERY_SECONDS = 0.0
with live.progress_line("reading", 2) as line:
    line.update(1, "half")
"""


def stderr_of_line(is_terminal: bool, **variables: str) -> bytes:
    """What a progress line writes to a terminal or to a pipe."""
    names = ("FORCE_COLOR", "JPY_PARENT_PID", "NO_COLOR", "TTY_COMPATIBLE")
    environment = {name: text for name, text in os.environ.items() if name not in names}
    ours, theirs = pty.openpty() if is_terminal else os.pipe()
    subprocess.run(
        [sys.executable, "-c", LINE], env={**environment, "TERM": "xterm", **variables},
        stderr=theirs, check=True,
    )  # fmt: skip
    written = os.read(ours, 10_000)
    os.close(ours)
    os.close(theirs)
    return written


def test_a_bar_is_drawn_on_a_terminal():
    assert HIDE_CURSOR in stderr_of_line(True)


@pytest.mark.parametrize(
    "is_terminal, variables",
    [
        (False, {}),
        (False, {"FORCE_COLOR": "1"}),  # many CI services set it
        (True, {"TERM": "dumb"}),
        # The cell !electra of a notebook: Jupyter sets all of these.
        (True, {"JPY_PARENT_PID": "1", "FORCE_COLOR": "1", "TERM": "xterm-color"}),
    ],
)
def test_elsewhere_there_are_plain_lines(is_terminal, variables):
    assert stderr_of_line(is_terminal, **variables).split() == [b"reading:", b"half"]
