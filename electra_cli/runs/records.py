"""What a run writes while it trains: rows of the log and checkpoints, also on a full disk."""

import contextlib
from collections.abc import Iterator, Sequence

from electra_cli import console
from electra_cli.errors import DiskFullError
from electra_cli.metrics import Metrics
from electra_cli.runs.loggers import RunLogger
from electra_cli.runs.session import Session
from electra_cli.training.checkpoint import Checkpoint
from electra_cli.training.run_state import RunState


class RunRecords:
    """Writes a run's rows and checkpoints; run.on_full_disk says what a full disk does.

    `stop`: DiskFullError. The row or checkpoint is missing, and a resume from the last good
    checkpoint makes it again. `continue`: a warning; rows wait in memory, and no checkpoint is
    begun before they are written, so that none is ahead of its log.
    """

    def __init__(self, session: Session, more_loggers: Sequence[RunLogger] = ()) -> None:
        """The CSV file is the first of the session's loggers; its rows may wait for room."""
        self._session = session
        self._loggers = (*session.loggers, *more_loggers)
        self._continues = session.config.run.on_full_disk == "continue"
        self._waiting_rows: list[Metrics] = []
        self._last_warning = ""
        self._num_rows = session.run.count_rows()
        self._saved_step: int | None = None  # of the last save that was begun

    def append_row(self, row: Metrics) -> None:
        """Add a row to the log."""
        self._waiting_rows.append(row)
        with self._full_disk_allowed():
            self._write_rows()
        for logger in self._loggers[1:]:  # at once: they do not wait for room on this disk
            logger.append_row(row)

    def save(self) -> None:
        """Begin a checkpoint of the trainer and of the place in the data."""
        with self._full_disk_allowed():
            self._session.checkpoints.wait()  # a failed earlier save must not prevent this one
        with self._full_disk_allowed():
            self._write_rows()
            self._begin_save()

    def check_save(self) -> None:
        """See how the save under way went, without waiting for it."""
        with self._full_disk_allowed():
            try:
                self._session.checkpoints.check()
            except DiskFullError:
                self._saved_step = None  # so that finish() tries again
                raise

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

    def rewind(self, step: int) -> None:
        """Forget the rows after `step`, written or waiting."""
        self._waiting_rows.clear()
        self._last_warning = ""
        for logger in self._loggers:
            logger.rewind(step)
        self._num_rows = self._session.run.count_rows()
        self._saved_step = None

    def _write_rows(self) -> None:
        while self._waiting_rows:
            self._loggers[0].append_row(self._waiting_rows[0])
            self._num_rows += 1
            del self._waiting_rows[0]

    def _begin_save(self) -> None:
        session = self._session
        state = RunState(
            trainer=session.trainer.state(),
            batches=session.batches.state(),
            log_rows=self._num_rows,
            config=session.config.model_dump(mode="json"),
            tokenizer_sha256=session.data.manifest.tokenizer_sha256,
            data_sha256=session.data.sha256,
            num_processes=session.processes.count,
        )
        session.checkpoints.save(
            session.trainer.step,
            Checkpoint(session.trainer.tensors(), state),
            after=[session.run.log, session.run.root] if self._num_rows else [],
        )
        self._saved_step = session.trainer.step

    @contextlib.contextmanager
    def _full_disk_allowed(self) -> Iterator[None]:
        try:
            with self._session.processes.busy():
                yield
        except DiskFullError as error:
            if not self._continues:
                raise
            if str(error) != self._last_warning:
                console.warn(str(error), "make room on the disk; training goes on meanwhile")
            self._last_warning = str(error)


class NoRecords:
    """The records of a process that is not the first of its run: it writes nothing."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def append_row(self, row: Metrics) -> None:
        """The first process has the same row."""

    def save(self) -> None:
        """Raise NonFiniteError where the first process does; it saves the same tensors."""
        self._session.trainer.state()

    save_now = save

    def check_save(self) -> None:
        """Nothing is under way here."""

    def finish(self) -> None:
        """Nothing is missing."""

    def rewind(self, step: int) -> None:
        """There are no rows."""


def open_records(
    session: Session, more_loggers: Sequence[RunLogger] = ()
) -> RunRecords | NoRecords:
    """What this process writes."""
    if session.processes.is_first:
        return RunRecords(session, more_loggers)
    return NoRecords(session)
