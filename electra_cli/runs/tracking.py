"""Rows of the log on their way to tracking packages, which work in a process of their own.

Importing and calling them takes seconds, for which they would hold Python's lock and a core that
training needs. The process (tracker_process.py) takes what time the cores have left.
"""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterable, Sequence
from functools import cache
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

from electra_cli import console
from electra_cli.config import TrackerName
from electra_cli.metrics import Metrics
from electra_cli.runs import tracker_process
from electra_cli.runs.trackers import TrackedRun
from electra_cli.stopping import SIGNALS

_GRACE_SECONDS = 10  # beyond the time after which the process itself gives up
_COLOURS = re.compile("\x1b\\[[0-9;]*m")


class TrackingLogger:
    """A logger that gives rows to tracking packages; one that fails or hangs costs a warning.

    After a resume they get the rows that they lack, those of the time before run.report_to named
    them included.
    """

    def __init__(
        self, names: Sequence[TrackerName], run: TrackedRun, max_wait_seconds: float = 30
    ) -> None:
        """Opens nothing yet: a session may end without a row.

        `max_wait_seconds`: at the end of a run, for rows that are not sent yet.
        """
        self._names = names
        self._run = run
        self._max_wait_seconds = max_wait_seconds
        self._process: _TrackerProcess | None = None

    def append_row(self, row: Metrics) -> None:
        """Pass the row on."""
        self._send("row", row)

    def rewind(self, step: int) -> None:
        """Make the trackers hold the rows of the CSV file, which has been cut back to `step`."""
        self._send("rewind", step)

    def close(self) -> None:
        """Wait until all rows are sent, max_wait_seconds at most."""
        if self._process is not None:
            self._process.close_run(self._max_wait_seconds)

    def _send(self, *message: Any) -> None:
        if self._process is None:
            self._process = _the_process()
            root = str(self._run.directory.root)
            self._process.send("open", self._names, root, self._run.name, self._run.settings)
        self._process.send(*message)


class _TrackerProcess:
    """The process of the trackers: one for all runs of a command, which follow one another.

    It ends when this process ends in whatever way, since that closes its stdin.
    """

    def __init__(self) -> None:
        self._messages: SimpleQueue[Sequence[Any]] = SimpleQueue()
        self._is_closed = Event()  # the open run
        self._is_gone = False
        self._problems: set[str] = set()
        Thread(target=self._write, daemon=True).start()

    def send(self, *message: Any) -> None:
        """Send a message (see tracker_process.main) without waiting."""
        self._messages.put(message)

    def close_run(self, max_wait_seconds: float) -> None:
        """Wait until the trackers have all rows of the open run."""
        self.send("close", max_wait_seconds)
        if not self._is_closed.wait(max_wait_seconds + _GRACE_SECONDS):
            self._end("the process of report_to did not answer in time")
        if not self._is_gone:
            self._is_closed.clear()

    def _write(self) -> None:
        # Stop requests are for this process. That one inherits the mask, until it ignores them.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            process = subprocess.Popen(
                tracker_process.command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONIOENCODING": "utf-8"},
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            self._end(f"the process of report_to cannot start: {error.strerror}")
            return
        assert process.stdin is not None and process.stdout is not None
        Thread(target=self._read, args=(process.stdout,), daemon=True).start()
        try:
            while True:
                process.stdin.write(json.dumps(self._messages.get()) + "\n")
                process.stdin.flush()
        except BrokenPipeError:
            pass  # _read sees its end, too

    def _read(self, lines: Iterable[str]) -> None:
        for line in lines:
            text, _, message = line.partition(tracker_process.MARK)
            if text.strip():
                console.talk(_COLOURS.sub("", text.rstrip()))  # what a package says
            match json.loads(message or "[]"):
                case ["closed"]:
                    self._is_closed.set()
                case ["talk", text]:
                    console.talk(text)
                case ["warn", problem]:
                    self._warn(problem)
        self._end("the process of report_to has ended")

    def _end(self, problem: str) -> None:
        self._warn(problem)
        self._is_gone = True
        self._is_closed.set()

    def _warn(self, problem: str) -> None:
        """Once, however many runs of a command have it."""
        if problem not in self._problems:
            self._problems.add(problem)
            hint = "training_log.csv has all rows; a resume sends what is missing"
            console.warn(problem, hint, even_muted=True)


@cache
def _the_process() -> _TrackerProcess:
    return _TrackerProcess()
