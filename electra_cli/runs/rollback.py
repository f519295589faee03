"""Back to a checkpoint of a run: which one, whether it fits, and what is later than it."""

import filecmp
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from electra_cli import console
from electra_cli.config import DataConfig, PretrainConfig, changeable_options
from electra_cli.data.prepared import PreparedData
from electra_cli.disk import as_argument, name_aside, set_aside
from electra_cli.errors import ConfigError, DataError, RunError
from electra_cli.presets import load_config, save_config
from electra_cli.run_directory import RunDirectory, not_a_run
from electra_cli.run_events import truncate_events
from electra_cli.runs.environment import environment_changes, write_environment
from electra_cli.runs.session import Session
from electra_cli.runs.write_errors import explain_write_errors, record_event
from electra_cli.training.checkpoint import Checkpoint, CheckpointManager, Loaded

SavedConfig = dict[str, dict[str, Any]]  # section, key


def open_run_folder(root: Path) -> RunDirectory:
    """The run in a folder. Raises RunError if there is none."""
    run = RunDirectory(root)
    if not run.config.is_file():
        raise not_a_run(root)
    return run


def choose_checkpoint(
    run: RunDirectory, checkpoints: CheckpointManager, step: int | None
) -> tuple[int, Checkpoint | None]:
    """The checkpoint to go on from, read and verified; None stands for the beginning.

    A run from trained weights has a checkpoint of that: what it started from may have changed.
    """
    if step is not None:
        is_kept = 0 in checkpoints.steps() and load_config(run.config).model.starts_trained
        return step, checkpoints.load(step) if step or is_kept else None
    newest = checkpoints.load_newest()
    if newest is not None:
        warn_about_damaged(newest)
        return newest.step, newest.checkpoint
    if run.log.exists():  # it went on for a while, so somebody took the checkpoints away
        raise RunError(
            f"{run.root} has no checkpoint",
            hint=f"put {run.checkpoints} back, or start again in the same folder with --step 0",
        )
    return 0, None  # stopped before its first one


def load_newest(checkpoints: CheckpointManager, root: Path, use: str) -> Loaded:
    """The newest checkpoint that verifies; the run goes by `root`. Raises RunError without one."""
    newest = checkpoints.load_newest()
    if newest is None:
        raise RunError(
            f"{root} has no checkpoint to {use}",
            hint=f"train it first: electra resume {as_argument(root)}",
        )
    warn_about_damaged(newest)
    return newest


def warn_about_damaged(loaded: Loaded) -> None:
    """Name the newer checkpoints that did not verify."""
    for path, problem in loaded.damaged.items():
        console.warn(f"{path} is damaged: {problem}", "it is left where it is, and skipped")


def refuse_changes(
    run: RunDirectory, start: Checkpoint | None, config: PretrainConfig, data: PreparedData
) -> None:
    """Raises DataError or ConfigError if the run would compute something else from here on."""
    if start is None:
        # Back at the beginning it is still this run: other settings are a new one.
        _refuse_other_options(load_config(run.config).model_dump(mode="json"), config)
        return
    state = start.state
    for what, wanted, found in (
        ("tokenizer", state.tokenizer_sha256, data.manifest.tokenizer_sha256),
        ("content", state.data_sha256, data.sha256),
    ):
        if wanted != found:
            raise DataError(
                f"{data.directory} has {what} {found[:12]}, this run's checkpoint was made with "
                f"{wanted[:12]}",
                hint="put the data folder back that the run was started with, or name where it is "
                "now: --set data.directory=DIR",
            )
    _refuse_other_options(state.config, config)


def _refuse_other_options(saved: SavedConfig, config: PretrainConfig) -> None:
    changeable = changeable_options()
    share = DataConfig.model_validate(saved.get("data", {})).replay_share
    if share != config.data.replay_share:
        raise ConfigError(
            f"data.replay takes {float(config.data.replay_share):g} of the windows, this run was "
            f"trained with {float(share):g}; the folder may change, the share may not",
            hint=f"end it in :{float(share):g}, or start a new run",
        )
    for name, old, new in _changes(saved, config):
        if name not in changeable:
            raise ConfigError(
                f"{name} is {new}, this run was trained with {old}; it cannot change within a run",
                hint="set it back, or start a new run; these may change: " + ", ".join(changeable),
            )


def _changes(saved: SavedConfig, config: PretrainConfig) -> list[tuple[str, Any, Any]]:
    """Options by `section.key` whose values differ: (name, saved, now)."""
    defaults = PretrainConfig().as_json()
    changes = []
    for name, now in config.as_json().items():
        section, _, key = name.partition(".")
        old = saved.get(section, {}).get(key, defaults[name])  # an option newer than the run
        if old != now:
            changes.append((name, old, now))
    return changes


def go_back(session: Session, step: int, start: Checkpoint | None, is_chosen: bool) -> None:
    """Set aside everything that is later than the checkpoint, and keep the run's new settings.

    Rows of the log are set aside where the user chose the step: after the newest checkpoint they
    only wait to be written again.
    """
    run, config = session.run, session.config
    with explain_write_errors(run.root), ExitStack() as stack:
        if is_chosen:
            for path in (run.log, run.events):
                stack.enter_context(_keep_if_changed(path))
        for path in session.checkpoints.set_aside_after(step):
            console.talk(f"a later checkpoint was set aside: {path}")
        if step < config.run.num_steps:
            for name in session.trainer.model.networks():
                if run.model(name).exists():
                    console.talk(f"a later model was set aside: {set_aside(run.model(name))}")
        for logger in session.loggers:
            logger.rewind(step)
        truncate_events(run.events, step)
        save_config(config, run.config)
    text = f"from step {step:,}"
    if start is not None:
        if start.state.num_processes != session.processes.count:
            text += f", processes {start.state.num_processes} -> {session.processes.count}"
        rows, expected = run.count_rows(), start.state.log_rows
        if rows != expected:
            console.warn(
                f"{run.log} has {rows} rows up to step {step:,}, there were {expected}",
                "training goes on exactly; only the curves have a gap",
            )
        changes = _changes(start.state.config, config)
        text += "".join(f", {name} {old} -> {new}" for name, old, new in changes)
    changed = environment_changes(run.environment, session.compute)
    with suppress(OSError):  # as for the event: nothing depends on it
        write_environment(run.environment, session.compute, session.processes)
    text += "".join(f", {name} {change}" for name, change in changed.items())
    record_event(run, step, "resumed", text)


@contextmanager
def _keep_if_changed(path: Path) -> Iterator[None]:
    """Set a copy of a file aside if the block changes it."""
    if not path.exists():
        yield
        return
    copy = name_aside(path)
    shutil.copy2(path, copy)
    yield
    if filecmp.cmp(path, copy, shallow=False):
        copy.unlink()
    else:
        console.talk(f"{path} as it was is set aside: {copy}")
