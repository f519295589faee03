"""Where the rows of a run's log go: one class per place.

A further logger is a class with these methods, and its line in build_loggers.
"""

from typing import Protocol

from electra_cli.config import PretrainConfig
from electra_cli.metrics import UNIGRAM_ENTROPY, Metrics, StepMetrics, log_row
from electra_cli.model.objectives.registry import metric_names
from electra_cli.run_directory import RUNS_FOLDER, RunDirectory
from electra_cli.runs.trackers import TrackedRun
from electra_cli.runs.tracking import TrackingLogger
from electra_cli.runs.write_errors import explain_write_errors


class RunLogger(Protocol):
    """Receives every row of the log once, in order of steps."""

    def append_row(self, row: Metrics) -> None:
        """Take one row (metrics.log_row). A later row may have further columns."""

    def rewind(self, step: int) -> None:
        """Forget the rows after `step`: the run goes on from there."""

    def close(self) -> None:
        """Finish what is under way; no row comes after this."""


class CsvLogger:
    """training_log.csv, which plot reads and a resume checks.

    Every log has the columns of all objectives, so that scripts read the logs of any runs alike;
    a cell is empty where the objective or the row has no such number.
    """

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        step, held_out = metric_names()
        nothing = StepMetrics(0, 0, 0, 0, 0, dict.fromkeys(step), 0, 0, 0)
        columns = log_row(nothing, dict.fromkeys((*held_out, UNIGRAM_ENTROPY)))
        self._empty_row: Metrics = dict.fromkeys(columns)

    def append_row(self, row: Metrics) -> None:
        """Raises DiskFullError where there is no room; no half row is left."""
        with explain_write_errors(self._run.log):
            self._run.append_row({**self._empty_row, **row})

    def rewind(self, step: int) -> None:
        """Cut the file back."""
        with explain_write_errors(self._run.log):
            self._run.truncate_log(step)

    def close(self) -> None:
        """Nothing is under way between rows."""


def build_loggers(run: RunDirectory, config: PretrainConfig) -> tuple[RunLogger, ...]:
    """The loggers of a run: the CSV file first, then those of run.report_to."""
    # A trial's folder says nothing without that of its study.
    is_plain = run.root.resolve().parent.name == RUNS_FOLDER.name
    name = "-".join(run.root.resolve().parts[-1 if is_plain else -2 :])
    if not config.run.report_to:
        return (CsvLogger(run),)
    tracked = TrackedRun(run, name, config.as_json())
    return (CsvLogger(run), TrackingLogger(config.run.report_to, tracked))
