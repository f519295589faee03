"""The training loop of a run, and what is written at its end."""

from collections.abc import Callable, Iterable

from electra_cli import console
from electra_cli.errors import DiskFullError, NonFiniteError, UserError
from electra_cli.metrics import EvalMetrics, StepMetrics
from electra_cli.run_directory import RunDirectory
from electra_cli.runs.export import draw_curves, export_models
from electra_cli.runs.health import HealthMonitor, HealthWarning
from electra_cli.runs.progress import TrainingReport
from electra_cli.runs.records import RunRecords, note, written
from electra_cli.runs.session import Session
from electra_cli.runs.skip_batch import skip_batch
from electra_cli.stopping import StopRequest, stop_request

OnLogged = Callable[[StepMetrics, EvalMetrics | None], None]


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
    with stop_request() as stop, written(run.root):
        encoder = export_models(session)
        if stop.is_made:
            _stop(session, stop, "trained to the end, but not all is exported")
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
    with stop_request() as stop:
        while True:
            try:
                return _take_steps(session, stop, on_logged)
            except NonFiniteError as error:
                skip_batch(session, error)


def _take_steps(session: Session, stop: StopRequest, on_logged: OnLogged | None) -> None:
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
                    warn_about(session.run, step, monitor.check(metrics, validation))
                if on_logged is not None:
                    on_logged(metrics, validation)
            report.stepped(step)
            if stop.is_made and not is_last:
                records.save_now()
                _stop(session, stop, f"stopped and saved at step {step:,}")
            if step % config.save_every == 0 or is_last:
                records.save()
            records.check()
    records.finish()


def warn_about(run: RunDirectory | None, step: int, warnings: Iterable[HealthWarning]) -> None:
    """Say it, and note it in the run; None: there is no run yet."""
    for warning in warnings:
        console.warn(warning.problem, warning.hint)
        if run is not None:
            note(run, step, "warning", warning.problem, warning.key)


def _stop(session: Session, stop: StopRequest, how: str) -> None:
    """Say so, and raise KeyboardInterrupt."""
    note(session.run, session.trainer.step, "stopped", f"{stop.reason}: {how}")
    console.talk(f"{stop.reason}: {how}")
    console.hint(f"go on with: electra resume {session.run.root}")
    stop.raise_if_made()
