"""What a run writes while it trains: rows of the log, checkpoints, events, also on a full disk."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from electra_cli import console
from electra_cli.disk import as_os_error, is_full
from electra_cli.errors import DiskFullError, RunError
from electra_cli.metrics import EvalMetrics, StepMetrics, log_row
from electra_cli.run_directory import RunDirectory
from electra_cli.run_events import EventKind, append_event
from electra_cli.runs.session import Session


class RunRecords:
    """Writes a run's rows and checkpoints; run.on_full_disk says what a full disk does.

    `stop`: DiskFullError. The row or checkpoint is missing, and a resume from the last good
    checkpoint makes it again. `continue`: a warning; rows wait in memory, and no checkpoint is
    begun before they are written, so that none is ahead of its log.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._continues = session.config.run.on_full_disk == "continue"
        self._waiting: list[dict[str, float | None]] = []
        self._warned = ""
        self._num_rows = session.run.count_rows()
        self._saved_step: int | None = None  # of the last save that was begun

    def append(self, metrics: StepMetrics, validation: EvalMetrics | None) -> None:
        """Add a row to the log."""
        self._waiting.append(log_row(metrics, validation))
        with self._full_disk_allowed():
            self._write_rows()

    def save(self) -> None:
        """Begin a checkpoint of the trainer and of the place in the data."""
        with self._full_disk_allowed():
            self._session.checkpoints.wait()  # an earlier one that failed costs this one nothing
        with self._full_disk_allowed():
            self._write_rows()
            self._begin_save()

    def check(self) -> None:
        """See how the save under way went, without waiting for it."""
        with self._full_disk_allowed():
            self._session.checkpoints.check()

    def finish(self) -> None:
        """All rows and the checkpoint under way are on the disk, or DiskFullError is raised."""
        if self._saved_step != self._session.trainer.step:
            self.save_now()
            return
        self._write_rows()
        self._session.checkpoints.wait()

    def save_now(self) -> None:
        """A checkpoint that is on the disk when this returns."""
        self._write_rows()
        with self._full_disk_allowed():
            self._session.checkpoints.wait()  # of an earlier one that failed
        self._begin_save()
        self._session.checkpoints.wait()

    def _write_rows(self) -> None:
        run = self._session.run
        while self._waiting:
            with written(run.log):
                run.append_row(self._waiting[0])
            self._num_rows += 1
            del self._waiting[0]

    def _begin_save(self) -> None:
        session = self._session
        state = session.trainer.state()
        values = {
            **state.values,
            **session.batches.state(),
            "log_rows": self._num_rows,
            "config": session.config.model_dump(mode="json"),
            "tokenizer_sha256": session.data.manifest.tokenizer_sha256,
            "data_sha256": session.data.sha256,
        }
        session.checkpoints.save(
            session.trainer.step,
            replace(state, values=values),
            after=[session.run.log, session.run.root] if self._num_rows else [],
        )
        self._saved_step = session.trainer.step

    @contextlib.contextmanager
    def _full_disk_allowed(self) -> Iterator[None]:
        try:
            yield
        except DiskFullError as error:
            if not self._continues:
                raise
            if str(error) != self._warned:
                console.warn(str(error), "make room on the disk; training goes on meanwhile")
            self._warned = str(error)


@contextlib.contextmanager
def written(path: Path) -> Iterator[None]:
    """Turn the system's errors of writing a path into DiskFullError, or RunError for other ones."""
    try:
        yield
    except Exception as error:
        reason = as_os_error(error)
        if reason is None:
            raise
        raise (DiskFullError if is_full(reason) else RunError)(
            f"{path} could not be written: {reason.strerror or reason}",
            hint="make room on the disk, or look to what is wrong with it",
        ) from error


def note(run: RunDirectory, step: int, kind: EventKind, text: str, key: str = "") -> None:
    """Append an event where there is room: nothing depends on it."""
    with contextlib.suppress(OSError):
        append_event(run.events, step, kind, text, key)
