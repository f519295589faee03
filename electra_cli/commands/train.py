"""`electra train`: a new run, the loop, and what is written at its end."""

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from electra_cli import console
from electra_cli.commands.finish import draw_curves, export_models
from electra_cli.commands.health import HealthMonitor, HealthWarning, warnings_before
from electra_cli.commands.interruption import Interruption, interruptible
from electra_cli.commands.micro_batch import fit_micro_batch
from electra_cli.commands.plan import measure_run, show_plan
from electra_cli.commands.records import RunRecords, note, written
from electra_cli.commands.rollback import skip_batch
from electra_cli.commands.run_lock import locked
from electra_cli.commands.session import (
    Session,
    count_model_parameters,
    find_data,
    open_data,
    open_session,
    prepared_folders,
    select_arithmetic,
    write_environment,
)
from electra_cli.commands.training_report import TrainingReport
from electra_cli.config import PretrainConfig
from electra_cli.disk import sync_to_disk
from electra_cli.errors import DiskFullError, NonFiniteError, RunError, UserError
from electra_cli.metrics import EvalMetrics, StepMetrics
from electra_cli.presets import load_preset, save_config
from electra_cli.run_directory import RunDirectory
from electra_cli.training.device import Precision

OnLogged = Callable[[StepMetrics, EvalMetrics | None], None]

RUNS_FOLDER = Path("runs")
# Without data the plan assumes the authors' vocabulary.
_USUAL_VOCABULARY = 30_522


@dataclass(frozen=True)
class TrainOptions:
    """What `electra train` was asked for; `options` maps section.key to a value."""

    preset: str
    options: Mapping[str, Any]
    assignments: tuple[str, ...]
    run_name: str | None
    dry_run: bool


def train(options: TrainOptions) -> None:
    """Pre-train from scratch in a new run folder."""
    config = load_preset(options.preset, options.options, options.assignments)
    device, precision = select_arithmetic(config)
    data = None
    # A dry run needs no data; any other run does.
    if not options.dry_run or config.data.directory is not None or prepared_folders():
        directory = find_data(config.data.directory).resolve()
        section = config.data.model_copy(update={"directory": directory})
        config = config.model_copy(update={"data": section})
        data = open_data(directory)
    vocab_size = _USUAL_VOCABULARY if data is None else data.manifest.vocab_size
    _, num_parameters = count_model_parameters(config, vocab_size)
    config = fit_micro_batch(config, num_parameters, device, precision)
    size = measure_run(config, vocab_size, data)
    show_plan(config, size, device, precision)
    unknown = None if data is None else data.manifest.report.unknown_fraction
    warnings = warnings_before(config, size.num_epochs, unknown)
    if options.dry_run:
        _warn_about(None, 0, warnings)
        console.hint("this was a dry run; leave --dry-run out to train")
        return
    assert data is not None
    run = _create_run(options, config, device, precision)
    with locked(run):
        session = open_session(run, config, data, device, precision)
        # Before the first step, so that a disk without room for it is found now and not in hours.
        RunRecords(session).save_now()
        _warn_about(run, 0, warnings)
        train_to_end(session)


def _create_run(
    options: TrainOptions, config: PretrainConfig, device: torch.device, precision: Precision
) -> RunDirectory:
    """A new folder with its settings, whole or not at all; never one that has something in it."""
    preset = Path(options.preset).stem
    root = RUNS_FOLDER / (options.run_name or f"{preset}-{datetime.now():%Y-%m-%d-%H%M%S}")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise RunError(
            f"{root} is there already",
            hint=f"choose another --run-name, or: electra resume {root}",
        )
    partial = RunDirectory(root.with_name(f".{root.name}.{os.getpid()}.partial"))
    try:
        partial.root.mkdir(parents=True)
        save_config(config, partial.config)
        write_environment(partial.environment, device, precision)
        partial.root.rename(root)
        sync_to_disk(root.parent)
    except OSError as error:
        shutil.rmtree(partial.root, ignore_errors=True)
        raise RunError(
            f"{root} cannot be made: {error.strerror}", hint="choose another --run-name"
        ) from None
    return RunDirectory(root)


def train_to_end(session: Session) -> None:
    """The loop, then what a user takes away."""
    run = session.run
    try:
        train_loop(session)
    except UserError as error:
        note(run, session.trainer.step, "stopped", str(error))
        if isinstance(error, DiskFullError):
            error.hint = f"make room on the disk, then: electra resume {run.root}"
        raise
    finally:
        session.close()
    with interruptible() as interruption, written(run.root):
        encoder = export_models(session)
        if interruption.requested:
            _stop(session, interruption, "trained to the end, but not all is exported")
        draw_curves(run)
    console.talk(f"the trained encoder: {encoder}")
    console.result(run.root)
    console.hint(f"see how it went: electra plot {run.root}")


def train_loop(session: Session, on_logged: OnLogged | None = None) -> None:
    """Train to the last step; the last checkpoint is on the disk when this returns.

    `on_logged` sees each row after it was appended; what it raises ends the loop. Raises
    KeyboardInterrupt after a signal, NonFiniteError or DiskFullError where the settings say so.
    """
    if not session.evaluation:
        console.warn("no document is held out, so nothing is evaluated", "prepare more text")
    with interruptible() as interruption:
        while True:
            try:
                return _take_steps(session, interruption, on_logged)
            except NonFiniteError as error:
                skip_batch(session, error)


def _take_steps(session: Session, interruption: Interruption, on_logged: OnLogged | None) -> None:
    """Steps, and every so often a row of the log, an evaluation, a checkpoint."""
    config, trainer, records = session.config.run, session.trainer, RunRecords(session)
    with console.progress("training", total=config.num_steps) as line:
        report = TrainingReport(line, config.num_steps)
        monitor = HealthMonitor(session.config, session.run)
        for step in trainer.steps(session.batches, until=config.num_steps):
            is_last = step == config.num_steps
            if step % config.log_every == 0 or is_last:
                metrics = trainer.flush(session.batches.position.epochs)
                validation = None
                if session.evaluation and (step % config.eval_every == 0 or is_last):
                    entropy = session.data.manifest.unigram_entropy
                    validation = trainer.evaluate(session.evaluation, entropy)
                records.append(metrics, validation)
                report.logged(metrics, validation)
                if validation is not None:
                    _warn_about(session.run, step, monitor.check(metrics, validation))
                if on_logged is not None:
                    on_logged(metrics, validation)
            report.stepped(step)
            if interruption.requested and not is_last:
                records.save_now()
                _stop(session, interruption, f"stopped and saved at step {step:,}")
            if step % config.save_every == 0 or is_last:
                records.save()
            records.check()
    records.finish()


def _warn_about(run: RunDirectory | None, step: int, warnings: Iterable[HealthWarning]) -> None:
    """Say it, and note it in the run; None: there is no run yet."""
    for warning in warnings:
        console.warn(warning.problem, warning.hint)
        if run is not None:
            note(run, step, "warning", warning.problem, warning.key)


def _stop(session: Session, interruption: Interruption, how: str) -> None:
    """Say so, and raise KeyboardInterrupt."""
    note(session.run, session.trainer.step, "stopped", f"{interruption.reason}: {how}")
    console.talk(f"{interruption.reason}: {how}")
    console.hint(f"go on with: electra resume {session.run.root}")
    interruption.check()
