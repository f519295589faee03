"""A session of a tiny run on a real prepared folder, in this process."""

from pathlib import Path

from conftest import CPU, tiny_config

from electra_cli.config import PretrainConfig
from electra_cli.data.prepared import open_data
from electra_cli.errors import DiskFullError
from electra_cli.metrics import Metrics, log_row
from electra_cli.runs.records import RunRecords
from electra_cli.runs.session import Session, create_run, open_session


def open_tiny(folder: Path, prepared: Path, **run: object) -> Session:
    data = open_data(prepared)
    config: PretrainConfig = tiny_config(run={"num_eval_windows": 8, **run})
    config = config.with_directory(prepared)
    return open_session(create_run(folder / "run", config, CPU), config, data, CPU)


class RecordingLogger:
    """A logger that keeps what it is given."""

    def __init__(self) -> None:
        self.rows: list[Metrics] = []
        self.rewound: list[int] = []

    def append_row(self, row: Metrics) -> None:
        self.rows.append(row)

    def rewind(self, step: int) -> None:
        self.rewound.append(step)
        self.rows = [row for row in self.rows if (row["step"] or 0) <= step]

    def close(self) -> None:
        """Keep the rows."""


class FullDisk(RecordingLogger):
    """A logger without room for a row, until is_full is taken back."""

    is_full = True

    def append_row(self, row: Metrics) -> None:
        if self.is_full:
            raise DiskFullError("no room for the row", "make some")
        super().append_row(row)


def train_and_save(session: Session, *steps: int) -> None:
    """Train to the last of these steps, with a row for each and a checkpoint at those named."""
    records = RunRecords(session)
    while session.trainer.step < max(steps):
        session.trainer.train_step(session.batches)
        records.append_row(log_row(session.trainer.flush(0.0), None))
        if session.trainer.step in steps:
            records.save_now()
