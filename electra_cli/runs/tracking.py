"""Rows of the log on their way to a tracking package: in a thread, so that training never waits."""

from collections.abc import Sequence
from queue import SimpleQueue
from threading import Thread

from electra_cli import console
from electra_cli.config import TrackerName
from electra_cli.metrics import Metrics
from electra_cli.run_directory import NoRowsError, RunDirectory
from electra_cli.runs.trackers import TrackedRun, Tracker, open_tracker, tracked_metrics

_SILENT_SECONDS = 2.0  # of the time that is waited at the end


class TrackingLogger:
    """A logger that gives rows to a tracking package; one that fails or hangs costs a warning.

    After a resume the tracker gets the rows that it lacks, those of the time before run.report_to
    named it included.
    """

    def __init__(
        self,
        name: TrackerName,
        run: TrackedRun,
        max_wait_seconds: float = 30,
    ) -> None:
        """Opens nothing yet: a session may end without a row.

        `max_wait_seconds`: at the end of a run, for rows that are not sent yet.
        """
        self._name = name
        self._max_wait_seconds = max_wait_seconds
        self._run = run
        # A list: the log as it is now. A row: the next one. None: the end.
        self._queue: SimpleQueue[Sequence[Metrics] | Metrics | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name=name, daemon=True)

    def append_row(self, row: Metrics) -> None:
        """Pass the row on."""
        if self._thread.ident is None:
            self._queue.put([])
            self._thread.start()
        self._queue.put(row)

    def rewind(self, step: int) -> None:
        """Make the tracker hold the rows of the CSV file, which has been cut back."""
        self._queue.put(_rows_of(self._run.directory))
        if self._thread.ident is None:
            self._thread.start()

    def close(self) -> None:
        """Wait until all rows are sent, max_wait_seconds at most."""
        if not self._thread.is_alive():
            return
        self._queue.put(None)
        self._thread.join(_SILENT_SECONDS)
        if self._thread.is_alive():
            seconds = self._max_wait_seconds
            console.talk(f"waiting for {self._name} to take the last rows, up to {seconds:.0f} s")
            self._thread.join(seconds - _SILENT_SECONDS)
        if self._thread.is_alive():
            self._warn("did not answer in time")

    def _work(self) -> None:
        tracker: Tracker | None = None
        try:
            while (message := self._queue.get()) is not None:
                if isinstance(message, dict):
                    assert tracker is not None  # a list comes first
                    _log(tracker, message)
                    continue
                if tracker is not None:
                    tracker.close()
                tracker = open_tracker(self._name, self._run)
                for row in message[tracker.open([_step_of(row) for row in message]) :]:
                    _log(tracker, row)
            if tracker is not None:
                tracker.close()
        except Exception as error:  # the packages raise whatever they like
            self._warn(f"failed: {' '.join(str(error).split()) or type(error).__name__}")

    def _warn(self, problem: str) -> None:
        console.warn(
            f"{self._name} {problem}",
            f"{self._run.directory.log} has all rows; a resume sends those that {self._name} lacks",
        )


def _rows_of(run: RunDirectory) -> list[Metrics]:
    try:
        columns = run.read_log()
    except NoRowsError:
        return []
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def _log(tracker: Tracker, row: Metrics) -> None:
    tracker.log(_step_of(row), tracked_metrics(row))


def _step_of(row: Metrics) -> int:
    step = row["step"]
    assert step is not None
    return int(step)
