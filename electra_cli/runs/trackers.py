"""The tracking packages of run.report_to, behind one small interface.

The only importer of these packages, each only when it is named. Servers, projects and keys are the
packages' own environment variables (WANDB_*, MLFLOW_*, TRACKIO_*).
"""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any, Protocol
from uuid import uuid4

from electra_cli.config import TrackerName
from electra_cli.disk import write_bytes_atomically
from electra_cli.errors import ConfigError
from electra_cli.metrics import VALIDATION_PREFIX, Metrics
from electra_cli.run_directory import RunDirectory

PROJECT = "electra"  # where no environment variable names another
_remembering = Lock()  # trackers work at the same time, each in a thread


class Tracker(Protocol):
    """A run as a tracking package knows it. Every method may raise whatever the package raises."""

    def open(self, steps: Sequence[int]) -> int:
        """Begin or go on with the run, whose log has rows of these steps.

        Returns how many of the first rows are there already; no others are, from then on.
        """

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add a row."""

    def close(self) -> None:
        """Send what is left."""


def require_trackers(names: Sequence[TrackerName]) -> None:
    """Raise ConfigError if a package that report_to names is not installed."""
    for name in names:
        if find_spec(name) is None:
            raise ConfigError(
                f"report_to names {name}, which is not installed",
                hint=f"pip install 'electra-cli[{name}]', or leave it out of report_to",
            )


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a run beside its rows."""

    directory: RunDirectory
    name: str
    settings: Mapping[str, Any]


def open_tracker(name: TrackerName, run: TrackedRun) -> Tracker:
    """The tracker of that name."""
    kinds: dict[TrackerName, Callable[[TrackedRun], Tracker]] = {
        "tensorboard": _TensorBoard,
        "wandb": _WeightsAndBiases,
        "trackio": _Trackio,
        "mlflow": _MLflow,
    }
    return kinds[name](run)


def tracked_metrics(row: Metrics) -> dict[str, float]:
    """A row's numbers as transformers' integrations name them: train/loss, eval/rtd_loss."""
    named = {}
    for name, value in row.items():
        if value is not None and name != "step":
            is_held_out = name.startswith(VALIDATION_PREFIX)
            key = f"eval/{name.removeprefix(VALIDATION_PREFIX)}" if is_held_out else f"train/{name}"
            named[key] = value
    return named


class _Tracker:
    """What all have in common: the run's name, its settings and what is remembered of it."""

    def __init__(self, run: TrackedRun) -> None:
        self._run, self._name = run.directory, run.name
        self._settings = dict(run.settings)

    def _remembered(self, key: str) -> Any:
        try:
            return json.loads(self._run.trackers.read_text()).get(key)
        except (OSError, ValueError):
            return None

    def _remember(self, key: str, value: object) -> None:
        with _remembering:
            try:
                known = json.loads(self._run.trackers.read_text())
            except (OSError, ValueError):
                known = {}
            content = json.dumps({**known, key: value}, indent=1)
            write_bytes_atomically(self._run.trackers, content.encode())


class _TensorBoard(_Tracker):
    def open(self, steps: Sequence[int]) -> int:
        # Not torch's SummaryWriter: loading torch takes two seconds of a core and 200 MB.
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.plugins.text.summary_v2 import text_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        # Writing all rows again costs less than finding out which of them a kill left out.
        has_earlier = self._run.tensorboard.is_dir() and any(self._run.tensorboard.iterdir())
        self._writer = EventFileWriter(str(self._run.tensorboard))
        if has_earlier:
            self._add(0, session_log=SessionLog(status=SessionLog.START))  # hides the earlier ones
        settings = "\n".join(f"    {name}: {value}" for name, value in self._settings.items())
        self._add(0, summary=text_pb("settings", settings))
        return 0

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=x) for name, x in metrics.items()]  # float32
        self._add(step, summary=Summary(value=values))
        self._writer.flush()

    def _add(self, step: int, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.add_event(Event(wall_time=time.time(), step=step, **content))

    def close(self) -> None:
        self._writer.close()


class _WeightsAndBiases(_Tracker):
    """Cannot take rows back: those that a resume makes again are left as they were first."""

    def open(self, steps: Sequence[int]) -> int:
        import wandb

        known = self._remembered("wandb") or {"id": uuid4().hex[:8], "step": -1}
        self._id, self._sent = known["id"], known["step"]
        os.environ.setdefault("WANDB_CONSOLE", "off")
        os.environ.setdefault("WANDB_X_STATS_PID", str(os.getppid()))  # load of the training
        self._wandb_run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=os.environ.get("WANDB_NAME", self._name),
            id=self._id,
            resume="allow",
            config=self._settings,
        )
        return sum(step <= self._sent for step in steps)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        if step > self._sent:
            self._wandb_run.log(dict(metrics), step=step)
            self._sent = step
            self._remember("wandb", {"id": self._id, "step": step})

    def close(self) -> None:
        self._wandb_run.finish()


class _Trackio(_Tracker):
    """A local run that holds rows which the log lacks is written anew; a remote one cannot be."""

    def open(self, steps: Sequence[int]) -> int:
        import trackio
        from trackio.sqlite_storage import SQLiteStorage

        project = os.environ.get("TRACKIO_PROJECT", PROJECT)
        is_remote = any(os.environ.get(f"TRACKIO_{x}") for x in ("SPACE_ID", "SERVER_URL"))
        known = self._remembered("trackio")
        if known is not None and not is_remote:
            held = [
                row["step"] for row in SQLiteStorage.get_logs(project, self._name, run_id=known)
            ]
            if held != list(steps[: len(held)]):
                SQLiteStorage.delete_run(project, self._name, run_id=known)
                known = None
        self._tracked: Any = trackio.init(
            project,
            self._name,
            config=self._settings,
            resume="never" if known is None else "allow",
            embed=False,
        )
        self._remember("trackio", self._tracked.id)
        return 0 if known is None else sum(step < self._tracked._next_step for step in steps)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._tracked.log(dict(metrics), step=step)

    def close(self) -> None:
        self._tracked.finish()


class _MLflow(_Tracker):
    """A run that holds rows which the log lacks is deleted and written anew."""

    def open(self, steps: Sequence[int]) -> int:
        import mlflow

        _create_database(mlflow.get_tracking_uri())
        known = self._remembered("mlflow")
        held: list[int] = []
        if known is not None:
            # Of a figure that every row has: that of step 0 has no loss.
            history = mlflow.MlflowClient().get_metric_history(known, "train/tokens_seen")
            held = [metric.step for metric in history]
            if held != list(steps[: len(held)]):
                mlflow.delete_run(known)
                known, held = None, []
        if not any(os.environ.get(f"MLFLOW_EXPERIMENT_{x}") for x in ("NAME", "ID")):
            mlflow.set_experiment(PROJECT)
        if known is not None:
            mlflow.start_run(known)
            return len(held)
        self._remember("mlflow", mlflow.start_run(run_name=self._name).info.run_id)
        mlflow.log_params(self._settings)
        return 0

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        import mlflow

        mlflow.log_metrics(dict(metrics), step=step)

    def close(self) -> None:
        import mlflow

        mlflow.end_run()


def _create_database(uri: str) -> None:
    """Create the local database of mlflow under another name first.

    mlflow runs some forty migrations. One that a kill interrupts, or that another run begins too,
    would leave a database which no later run can open.
    """
    import mlflow

    path = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or path.exists():
        return
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        created = Path(folder) / path.name
        mlflow.MlflowClient(f"sqlite:///{created}").search_experiments()
        with suppress(FileExistsError):  # another run was faster
            os.link(created, path)
