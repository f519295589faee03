"""`electra train` and `electra resume`: the loop, and what is written around it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from electra_cli import console
from electra_cli.commands.finish import draw_curves, export_models
from electra_cli.commands.health import HealthMonitor, HealthWarning, warnings_before
from electra_cli.commands.interruption import interruptible
from electra_cli.commands.plan import measure_run, show_plan
from electra_cli.commands.session import (
    Session,
    count_model_parameters,
    find_data,
    fit_micro_batch,
    open_data,
    open_session,
    prepared_folders,
    select_arithmetic,
    write_environment,
)
from electra_cli.commands.training_report import TrainingReport
from electra_cli.config import PretrainConfig
from electra_cli.errors import RunError
from electra_cli.metrics import EvalMetrics, StepMetrics, log_row
from electra_cli.presets import load_config, load_preset, save_config
from electra_cli.run_directory import RunDirectory
from electra_cli.run_events import append_event
from electra_cli.training.checkpoint import CheckpointManager, find_damage

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
    size = measure_run(config, vocab_size, data, precision)
    show_plan(config, size, device, precision)
    unknown = None if data is None else data.manifest.report.unknown_fraction
    warnings = warnings_before(config, size.num_epochs, unknown)
    if options.dry_run:
        _warn_about(None, 0, warnings)
        console.hint("this was a dry run; leave --dry-run out to train")
        return
    assert data is not None
    run = _create_run(options)
    save_config(config, run.config)
    write_environment(run.environment, device, precision)
    _warn_about(run, 0, warnings)
    _train_to_end(open_session(run, config, data, device, precision))


def resume(root: Path, step: int | None) -> None:
    """Go on from the newest good checkpoint of a run, or from that of `step`."""
    run = RunDirectory(root)
    if not run.config.is_file():
        raise RunError(
            f"{root} is not a run: it has no {run.config.name}",
            hint="name a folder that electra train made, such as runs/NAME",
        )
    config = load_config(run.config)
    assert config.data.directory is not None  # train saved it resolved
    device, precision = select_arithmetic(config)
    data = open_data(config.data.directory)
    chosen = step if step is not None else _newest_checkpoint(run, config)
    session = open_session(run, config, data, device, precision, resume_from=chosen)
    run.truncate_log(chosen)
    console.talk(f"resuming {root} from step {chosen:,} of {config.run.num_steps:,}")
    _train_to_end(session)


def _newest_checkpoint(run: RunDirectory, config: PretrainConfig) -> int:
    manager = CheckpointManager(run.checkpoints, config.run.keep_checkpoints)
    latest = manager.latest()
    for step in manager.steps():
        if latest is None or step > latest:
            path = manager.path_of(step)
            console.warn(
                f"{path} is damaged: {find_damage(path)}", "it is left where it is, and skipped"
            )
    if latest is None:
        raise RunError(
            f"{run.root} has no good checkpoint", hint="start again: electra train --run-name NEW"
        )
    return latest


def _create_run(options: TrainOptions) -> RunDirectory:
    """A new folder, never one that has something in it."""
    preset = Path(options.preset).stem
    name = options.run_name or f"{preset}-{datetime.now():%Y-%m-%d-%H%M%S}"
    root = RUNS_FOLDER / name
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise RunError(
            f"{root} is there already",
            hint=f"choose another --run-name, or: electra resume {root}",
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"{root} cannot be made: {error.strerror}", hint="choose another --run-name"
        ) from None
    return RunDirectory(root)


def _train_to_end(session: Session) -> None:
    """The loop, then what a user takes away."""
    try:
        train_loop(session)
    finally:
        session.batches.close()
    encoder = export_models(session)
    draw_curves(session.run)
    console.talk(f"the trained encoder: {encoder}")
    console.result(session.run.root)
    console.hint(f"see how it went: electra plot {session.run.root}")


def train_loop(session: Session, on_logged: OnLogged | None = None) -> None:
    """Steps, and every so often a row of the log, an evaluation, a checkpoint.

    `on_logged` sees each row after it was appended; what it raises ends the loop.
    """
    config, trainer = session.config.run, session.trainer
    if not session.evaluation:
        console.warn("no document is held out, so nothing is evaluated", "prepare more text")
    with (
        interruptible() as interruption,
        console.progress("training", total=config.num_steps) as line,
    ):
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
                session.run.append_row(log_row(metrics, validation))
                report.logged(metrics, validation)
                if on_logged is not None:
                    on_logged(metrics, validation)
                if validation is not None:
                    _warn_about(session.run, step, monitor.check(metrics, validation))
            report.stepped(step)
            if step % config.save_every == 0 or is_last or interruption.requested:
                _save(session)
            if interruption.requested and not is_last:
                console.talk(f"stopped and saved at step {step:,}")
                console.hint(f"go on with: electra resume {session.run.root}")
                interruption.check()


def _warn_about(run: RunDirectory | None, step: int, warnings: Iterable[HealthWarning]) -> None:
    """Say it, and note it in the run; None: there is no run yet."""
    for warning in warnings:
        console.warn(warning.problem, warning.hint)
        if run is not None:
            append_event(run.events, step, "warning", warning.problem, warning.key)


def _save(session: Session) -> None:
    """A checkpoint of the trainer and of the place in the data."""
    state = session.trainer.state()
    values = {
        **state.values,
        "position": asdict(session.batches.position),
        "tokenizer_sha256": session.data.manifest.tokenizer_sha256,
    }
    session.checkpoints.save(session.trainer.step, replace(state, values=values))
