"""`electra resume`: go on from a checkpoint, or repeat the way to it and compare."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from electra_cli import console
from electra_cli.config import PretrainConfig, changeable_options, iter_options
from electra_cli.data.prepared import PreparedData, open_data
from electra_cli.errors import ConfigError, DataError, RunError
from electra_cli.locks import hold_run
from electra_cli.presets import load_config, load_preset, save_config
from electra_cli.run_directory import RunDirectory
from electra_cli.run_events import truncate_events
from electra_cli.runs.loop import train_to_end
from electra_cli.runs.micro_batch import fit_micro_batch
from electra_cli.runs.records import note, written
from electra_cli.runs.session import (
    Session,
    count_model_parameters,
    open_checkpoints,
    open_session,
    select_arithmetic,
)
from electra_cli.stopping import stop_request
from electra_cli.training.checkpoint import CheckpointManager, Loaded
from electra_cli.training.device import Precision
from electra_cli.training.trainer import TrainingState

# What the clock says differs from one time to the next.
_TIMES = {"elapsed_seconds", "window_seconds"}


@dataclass(frozen=True)
class ResumeOptions:
    """What `electra resume` was asked for; step 0 is the beginning."""

    root: Path
    step: int | None
    assignments: tuple[str, ...]


def resume(options: ResumeOptions) -> None:
    """Go on from the newest good checkpoint of a run, or from that of a step."""
    run, config, data, device, precision = _open_run(options)
    with hold_run(run):
        checkpoints = open_checkpoints(run, config)
        step, state = _choose(run, checkpoints, options.step)
        if state is None:
            # Back at the beginning it is still this run: other settings are a new one.
            _refuse_other_options(load_config(run.config).model_dump(mode="json"), config)
        else:
            _refuse_changes(state, config, data)
        session = open_session(run, config, data, device, precision, checkpoints, state)
        _go_back(session, step, state)
        console.talk(f"resuming {run.root} from step {step:,} of {config.run.num_steps:,}")
        train_to_end(session)


def verify(options: ResumeOptions) -> None:
    """Repeat the steps from one checkpoint to the next, and compare every bit; writes nothing.

    Raises RunError where they differ.
    """
    run, config, data, device, precision = _open_run(options)
    checkpoints = open_checkpoints(run, config)
    last, expected = _choose(run, checkpoints, options.step)
    before = checkpoints.load_newest(before=last)
    if expected is None or before is None:
        raise RunError(
            f"{run.root} has no checkpoint before step {last:,} to begin at",
            hint="wait for the next checkpoint; run.keep_checkpoints has to be 2 or more",
        )
    _warn_about_damaged(before)
    _refuse_changes(expected, config, data)
    start = TrainingState(
        before.state.tensors,
        {**before.state.values, "skipped_batches": expected.values["skipped_batches"]},
    )
    session = open_session(run, config, data, device, precision, checkpoints, start)
    console.talk(f"repeating steps {before.step + 1:,} to {last:,} of {run.root}")
    try:
        found = _repeat(session, last, expected.values["config"]["run"]["log_every"])
    finally:
        session.close()
    differing = _compare(found, expected)
    if differing:
        raise RunError(
            f"steps {before.step + 1:,} to {last:,} came out differently: {differing[0]}"
            + f" and {len(differing) - 1} more" * (len(differing) > 1),
            hint="another device, number of threads, micro-batch or version of torch adds up in "
            "another order (environment.json); if nothing changed, suspect the machine",
        )
    console.result(
        f"steps {before.step + 1} to {last} came out the same, bit for bit, in "
        f"{sum(len(named) for named in expected.tensors.values())} tensors"
    )


def _open_run(
    options: ResumeOptions,
) -> tuple[RunDirectory, PretrainConfig, PreparedData, torch.device, Precision]:
    """A run's settings with what was asked to change, its data, and what to compute on."""
    run = RunDirectory(options.root)
    if not run.config.is_file():
        raise RunError(
            f"{run.root} is not a run: it has no {run.config.name}",
            hint="name a folder that electra train made, such as runs/NAME",
        )
    config = load_preset(str(run.config), assignments=options.assignments)
    assert config.data.directory is not None  # train saved it resolved
    directory = config.data.directory.resolve()
    config = config.with_directory(directory)
    device, precision = select_arithmetic(config)
    data = open_data(directory)
    _, num_parameters = count_model_parameters(config, data.manifest.vocab_size)
    return run, fit_micro_batch(config, num_parameters, device, precision), data, device, precision


def _choose(
    run: RunDirectory, checkpoints: CheckpointManager, step: int | None
) -> tuple[int, TrainingState | None]:
    """The checkpoint to go on from, read and verified; None stands for the beginning."""
    if step is not None:
        return step, checkpoints.load(step) if step else None
    newest = checkpoints.load_newest()
    if newest is not None:
        _warn_about_damaged(newest)
        return newest.step, newest.state
    if run.log.exists():  # it went on for a while, so somebody took the checkpoints away
        raise RunError(
            f"{run.root} has no checkpoint",
            hint=f"put {run.checkpoints} back, or start again in the same folder with --step 0",
        )
    return 0, None  # stopped before its first one


def _warn_about_damaged(loaded: Loaded) -> None:
    for path, problem in loaded.damaged.items():
        console.warn(f"{path} is damaged: {problem}", "it is left where it is, and skipped")


def _refuse_changes(state: TrainingState, config: PretrainConfig, data: PreparedData) -> None:
    """Raises DataError or ConfigError if the run would compute something else from here on."""
    saved = state.values
    for what, wanted, found in (
        ("tokenizer", saved["tokenizer_sha256"], data.manifest.tokenizer_sha256),
        ("content", saved["data_sha256"], data.sha256),
    ):
        if wanted != found:
            raise DataError(
                f"{data.directory} has {what} {found[:12]}, this run's checkpoint was made with "
                f"{wanted[:12]}",
                hint="put the data folder back that the run was started with, or name where it is "
                "now: --set data.directory=DIR",
            )
    _refuse_other_options(saved["config"], config)


def _refuse_other_options(saved: dict[str, Any], config: PretrainConfig) -> None:
    changeable = changeable_options()
    for name, old, new in _changes(saved, config):
        if name not in changeable:
            raise ConfigError(
                f"{name} is {new}, this run was trained with {old}; it cannot change within a run",
                hint="set it back, or start a new run; these may change: " + ", ".join(changeable),
            )


def _changes(saved: dict[str, Any], config: PretrainConfig) -> list[tuple[str, Any, Any]]:
    """Options by `section.key` whose values differ: (name, saved, now)."""
    now = config.model_dump(mode="json")
    changes = []
    for name, option in iter_options():
        section, _, key = name.partition(".")
        old = saved.get(section, {}).get(key, option.default)  # an option newer than the run
        if old != now[section][key]:
            changes.append((name, old, now[section][key]))
    return changes


def _go_back(session: Session, step: int, state: TrainingState | None) -> None:
    """Cut everything that is later than the checkpoint off the run, and keep its new settings."""
    run, config = session.run, session.config
    with written(run.root):
        for path in session.checkpoints.set_aside_after(step):
            console.talk(f"a later checkpoint was set aside: {path}")
        run.truncate_log(step)
        truncate_events(run.events, step)
        save_config(config, run.config)
    text = f"from step {step:,}"
    if state is not None:
        rows, expected = run.count_rows(), state.values["log_rows"]
        if rows != expected:
            console.warn(
                f"{run.log} has {rows} rows up to step {step:,}, there were {expected}",
                "training goes on exactly; only the curves have a gap",
            )
        changes = _changes(state.values["config"], config)
        text += "".join(f", {name} {old} -> {new}" for name, old, new in changes)
    note(run, step, "resumed", text)


def _repeat(session: Session, last: int, log_every: int) -> TrainingState:
    """Train to step `last` as the loop did, without a trace in the run."""
    trainer, batches = session.trainer, session.batches
    with stop_request() as stop:
        for step in trainer.steps(batches, until=last):
            if step % log_every == 0 or step == session.config.run.num_steps:
                trainer.flush(batches.position.epochs)
            stop.raise_if_made()
    state = trainer.state()
    return TrainingState(state.tensors, {**state.values, **batches.state()})


def _compare(found: TrainingState, expected: TrainingState) -> list[str]:
    """What differs, in words."""
    differing = []
    for group, named in expected.tensors.items():
        for name, tensor in named.items():
            if name not in found.tensors[group]:  # the generator of another kind of device
                differing.append(f"{name} ({group}), which this device does not have")
                continue
            repeated = found.tensors[group][name].cpu()
            if not torch.equal(repeated, tensor):
                furthest = (repeated.double() - tensor.double()).abs().max()
                differing.append(f"{name} ({group}) by up to {furthest:.2g}")
    for name, value in found.values.items():
        if name not in _TIMES and value != expected.values[name]:
            differing.append(f"{name} is {value}, it was {expected.values[name]}")
    return differing
