"""The process that gives rows to tracking packages; electra_cli.runs.tracking starts it.

It takes what time the cores have left, and hears no stop request: it ends with the process that
started it.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from electra_cli.config import TrackerName
from electra_cli.metrics import Metrics
from electra_cli.run_directory import NoRowsError, RunDirectory
from electra_cli.runs.trackers import TrackedRun, Tracker, open_tracker, tracked_metrics
from electra_cli.stopping import SIGNALS

# Begins a message of ours on stdout, as in RFC 7464; all other text is what the packages print.
MARK = "\x1e"
_LOWEST_PRIORITY = 19
_SILENT_SECONDS = 2.0  # of the time that is waited at the end of a run


def command() -> list[str]:
    """How to start it: with the arguments and the module path of this process."""
    code = (
        f"import sys; sys.path[:], sys.argv = {sys.path!r}, {sys.argv!r}; "
        f"from {__name__} import main; main()"
    )
    return [sys.executable, "-u", "-c", code]


def main() -> None:
    """Obey the messages on stdin, a JSON array per line, until its end.

    ["open", names, root, name, settings]: a run begins or goes on. ["rewind", step]: its log holds
    the rows up to that step, and no others. ["row", row]: the next row. ["close", seconds]: wait so
    long for the trackers, then answer ["closed"].
    """
    usual_priority = os.getpriority(os.PRIO_PROCESS, 0)
    _set_priority(_LOWEST_PRIORITY)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    lines = os.fdopen(os.dup(sys.stdin.fileno()), encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())  # a package may ask there
    messages: SimpleQueue[Sequence[Any]] = SimpleQueue()
    Thread(target=_read, args=(lines, messages), daemon=True).start()
    feeds: list[_Feed] = []
    hanging: set[TrackerName] = set()
    while True:
        match messages.get():
            case ["open", names, root, name, settings]:
                _set_priority(_LOWEST_PRIORITY)
                run = TrackedRun(RunDirectory(Path(root)), name, settings)
                feeds = [_Feed(each, run) for each in names if each not in hanging]
            case ["rewind" | "row", rows]:
                for feed in feeds:
                    feed.queue.put(rows)
            case ["close", seconds]:
                _set_priority(usual_priority)  # training waits now
                hanging.update(_close(feeds, seconds))
                _say("closed")


def _set_priority(nice: int) -> None:
    """Of all threads; only an administrator may raise it again, and without it rows come later."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, nice)
        for thread in Path("/proc/self/task").iterdir():  # Linux has a priority per thread
            os.setpriority(os.PRIO_PROCESS, int(thread.name), nice)


def _read(lines: Iterable[str], messages: SimpleQueue[Sequence[Any]]) -> None:
    for line in lines:
        messages.put(json.loads(line))
    os._exit(0)  # at once: a resume may give the same rows to the same tracker next


def _say(*message: str) -> None:
    sys.stdout.write(f"{MARK}{json.dumps(message)}\n")  # in one piece: threads write at once


class _Feed:
    """A thread that gives the rows of a run to one tracker."""

    def __init__(self, name: TrackerName, run: TrackedRun) -> None:
        self.name = name
        self._run = run
        # A number: of the step that the log was cut back to. None: the end.
        self.queue: SimpleQueue[Metrics | int | None] = SimpleQueue()
        self.thread = Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self) -> None:
        tracker: Tracker | None = None
        try:
            while (message := self.queue.get()) is not None:
                if tracker is not None and isinstance(message, dict):
                    _log(tracker, message)
                    continue
                if tracker is not None:
                    tracker.close()
                tracker = open_tracker(self.name, self._run)
                log = self._run.directory
                rows = [message] if isinstance(message, dict) else _rows_until(message, log)
                for row in rows[tracker.open([_step_of(row) for row in rows]) :]:
                    _log(tracker, row)
            if tracker is not None:
                tracker.close()
        except Exception as error:  # the packages raise whatever they like
            reason = " ".join(str(error).split()) or type(error).__name__
            _say("warn", f"{self.name} failed: {reason}")


def _close(feeds: Sequence[_Feed], max_wait_seconds: float) -> list[TrackerName]:
    """Wait until all rows are sent; returns the trackers that did not answer."""
    started = time.monotonic()
    for feed in feeds:
        feed.queue.put(None)
    for seconds in (_SILENT_SECONDS, max_wait_seconds):
        for feed in feeds:
            feed.thread.join(max(0.0, started + seconds - time.monotonic()))
        late = [feed.name for feed in feeds if feed.thread.is_alive()]
        if late and seconds < max_wait_seconds:
            names = ", ".join(late)
            _say(
                "talk",
                f"waiting for {names} to take the last rows, up to {max_wait_seconds:.0f} s",
            )
    for name in late:
        _say("warn", f"{name} did not answer in time")
    return late


def _rows_until(step: int, run: RunDirectory) -> list[Metrics]:
    try:
        columns = run.read_log()
    except NoRowsError:
        return []
    rows = (dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True))
    return [row for row in rows if _step_of(row) <= step]


def _log(tracker: Tracker, row: Metrics) -> None:
    tracker.log(_step_of(row), tracked_metrics(row))


def _step_of(row: Metrics) -> int:
    step = row["step"]
    assert step is not None
    return int(step)
