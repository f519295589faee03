"""How runs are doing, from their files alone: nothing is loaded or changed.

Loads no torch, which takes seconds; the newest checkpoint is read whole, for its checksums.
"""

import math
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from electra_cli.config import PretrainConfig
from electra_cli.disk import step_folder
from electra_cli.errors import ConfigError, RunError
from electra_cli.locks import owner_of
from electra_cli.metrics import VALIDATION_PREFIX, Metrics
from electra_cli.presets import load_config
from electra_cli.run_directory import NoRowsError, RunDirectory, not_a_run
from electra_cli.run_events import RunEvent, read_events
from electra_cli.training.checkpoint_damage import find_damage

State = Literal["running", "stopped", "finished", "damaged"]
# These folders appear at a run's end, each whole (runs/export.py).
_MODELS = ("discriminator", "generator", "masked_lm")
_PACE_ROWS = 10  # the pace is that of the last rows: one alone may have waited for a checkpoint


@dataclass(frozen=True)
class RunStatus:
    """A run's line of `electra status`, and its object of `--json`: these names are its keys."""

    run: str  # the folder
    state: State
    reason: str | None  # of running: which process; of stopped and damaged: why
    step: int  # completed steps, of the last row or checkpoint
    num_steps: int | None  # None where the settings cannot be read
    seconds_left: float | None  # at the pace of the last rows, were it running
    tokens_per_second: float | None  # of the last row
    held_out: Metrics  # of the last evaluation; empty before the first one
    held_out_step: int | None  # when that was
    warnings: list[str]
    checkpoint: int | None  # step of the newest one whose checksums hold
    disk_bytes: int


def find_runs(folder: Path) -> list[Path]:
    """The runs in a folder, by name; none if there is no such folder."""
    return sorted(path.parent for path in folder.glob("*/config.yaml"))


def read_status(root: Path) -> RunStatus:
    """A run's state. Raises RunError if the folder is no run's."""
    run = RunDirectory(root)
    if not run.config.is_file():
        raise not_a_run(root)
    run.refuse_finetune()
    problems: list[str] = []
    config = _read_config(run, problems)
    rows = _read_rows(run, problems)
    checkpoint = _newest_good(run, problems)
    events = read_events(run.events)
    last = rows[-1] if rows else {}
    step = max(_step_of(last), checkpoint or 0)
    num_steps = None if config is None else config.run.num_steps
    evaluated = next((row for row in reversed(rows) if f"{VALIDATION_PREFIX}loss" in row), {})
    is_finished = config is not None and step == num_steps and _has_models(run, config)
    state, reason = _state_of(run, is_finished, problems, events)
    return RunStatus(
        run=str(root),
        state=state,
        reason=reason,
        step=step,
        num_steps=num_steps,
        seconds_left=_seconds_left(rows, step, num_steps),
        tokens_per_second=last.get("tokens_per_second"),
        held_out={
            name.removeprefix(VALIDATION_PREFIX): value
            for name, value in evaluated.items()
            if name.startswith(VALIDATION_PREFIX)
        },
        held_out_step=_step_of(evaluated) if evaluated else None,
        warnings=[event.text for event in events if event.kind == "warning"],
        checkpoint=checkpoint,
        disk_bytes=_bytes_below(root),
    )


def _state_of(
    run: RunDirectory, is_finished: bool, problems: Sequence[str], events: Sequence[RunEvent]
) -> tuple[State, str | None]:
    owner = owner_of(run.lock)
    if owner is not None:
        return "running", owner
    if problems:
        return "damaged", "; ".join(problems)
    if is_finished:
        return "finished", None
    ends = [event for event in events if event.kind != "warning"]
    if ends and ends[-1].kind == "stopped":
        return "stopped", ends[-1].text
    return "stopped", "its process was killed, or crashed"


def _has_models(run: RunDirectory, config: PretrainConfig) -> bool:
    found = sum(run.model(name).is_dir() for name in _MODELS)
    return found > config.objective.has_generator


def _read_config(run: RunDirectory, problems: list[str]) -> PretrainConfig | None:
    try:
        return load_config(run.config)
    except ConfigError as error:
        problems.append(str(error))
        return None


def _read_rows(run: RunDirectory, problems: list[str]) -> list[Metrics]:
    """The rows without their empty cells, and without what JSON has no number for."""
    try:
        columns = run.read_log() if run.log.exists() else {}
    except NoRowsError:
        return []
    except RunError as error:
        problems.append(str(error))
        return []
    rows = zip(*columns.values(), strict=True)
    return [
        {
            name: cell
            for name, cell in zip(columns, row, strict=True)
            if cell is not None and math.isfinite(cell)
        }
        for row in rows
    ]


def _newest_good(run: RunDirectory, problems: list[str]) -> int | None:
    """Damaged ones are a problem only if no good one is left: a resume skips them."""
    damaged = []
    for step in reversed(run.checkpoint_steps()):
        path = step_folder(run.checkpoints, step)
        try:
            problem = find_damage(path, step)
        except RunError as error:  # of another version
            problem = str(error)
        if problem is None:
            return step
        damaged.append(f"{path.name}: {problem}")
    if damaged:
        problems.append("no checkpoint is good (" + "; ".join(damaged) + ")")
    return None


def _seconds_left(rows: Sequence[Metrics], step: int, num_steps: int | None) -> float | None:
    if num_steps is None or len(rows) < 2:
        return 0.0 if step == num_steps else None
    first, last = rows[-min(len(rows), _PACE_ROWS)], rows[-1]
    seconds = (last.get("elapsed_seconds") or 0.0) - (first.get("elapsed_seconds") or 0.0)
    return (num_steps - step) * seconds / (_step_of(last) - _step_of(first))


def _step_of(row: Metrics) -> int:
    return int(row.get("step") or 0)


def _bytes_below(root: Path) -> int:
    """Bytes of all files; one that vanishes meanwhile counts nothing."""
    total = 0
    for folder, _, names in os.walk(root):
        for name in names:
            with suppress(OSError):
                status = Path(folder, name).lstat()
                total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total
