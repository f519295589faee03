"""The training loop of a run, and what is written at its end."""

from collections.abc import Iterable, Sequence
from typing import NoReturn

from electra_cli import console
from electra_cli.disk import as_argument
from electra_cli.errors import DiskFullError, NonFiniteError, UserError
from electra_cli.live import progress_line
from electra_cli.metrics import log_row
from electra_cli.run_directory import RunDirectory
from electra_cli.runs.export import draw_curves, export_models, trained_model
from electra_cli.runs.health import HealthMonitor, HealthWarning
from electra_cli.runs.loggers import RunLogger
from electra_cli.runs.out_of_memory import explain_out_of_memory
from electra_cli.runs.progress import TrainingProgress
from electra_cli.runs.records import open_records
from electra_cli.runs.session import Session
from electra_cli.runs.skip_batch import skip_batch
from electra_cli.runs.write_errors import explain_write_errors, record_event
from electra_cli.stopping import StopRequest, stop_request


def train_to_end(session: Session) -> None:
    """Train, then export the models and draw the curves; the first process writes it all."""
    run, processes = session.run, session.processes
    if processes.is_first:
        processes.watch.on_loss = lambda why: record_event(
            run, session.trainer.step, "stopped", why
        )
    try:
        with explain_out_of_memory(run, session.config):
            train(session)
    except UserError as error:
        if isinstance(error, NonFiniteError):
            processes.leave_to_first()  # it has the same error
        if not processes.is_first:
            raise
        record_event(run, session.trainer.step, "stopped", str(error))
        if isinstance(error, DiskFullError):
            error.hint = f"make room on the disk, then: electra resume {as_argument(run.root)}"
        raise
    finally:
        session.close()
    processes.release()
    if not processes.is_first:
        return
    with stop_request() as stop, explain_write_errors(run.root):
        encoder = export_models(trained_model(session), run)
        if stop.is_requested:
            _end_early(session, stop, "trained to the end, but not all is exported")
        draw_curves(run)
    console.talk(f"the trained encoder: {encoder}")
    console.result(run.root)
    console.hint(f"see how it went: electra plot {as_argument(run.root)}")


def train(session: Session, more_loggers: Sequence[RunLogger] = ()) -> None:
    """The loop: train to the last step; the last checkpoint is on the disk when this returns.

    `more_loggers` see each row; what they raise ends the loop. Raises
    KeyboardInterrupt after a stop request, NonFiniteError or DiskFullError where the settings say
    so.
    """
    config, trainer = session.config.run, session.trainer
    if not session.evaluation:
        console.warn("no document is held out, so nothing is evaluated", "prepare more text")
    records = open_records(session, more_loggers)
    monitor = HealthMonitor(session.config, session.run)
    with stop_request() as stop, progress_line("training", total=config.num_steps) as line:
        progress = TrainingProgress(line, config.num_steps)
        while trainer.step < config.num_steps:
            try:
                trainer.train_step(session.batches)
                step, is_last = trainer.step, trainer.step == config.num_steps
                if step % config.log_every == 0 or is_last:
                    metrics, held_out = trainer.flush(session.batches.epochs), None
                    if session.evaluation and (step % config.eval_every == 0 or is_last):
                        probes = session.probes
                        held_out = session.evaluate(bool(probes and probes.are_due(step, is_last)))
                    records.append_row(log_row(metrics, held_out))
                    progress.show_row(metrics, held_out)
                    if held_out is not None and session.processes.is_first:
                        warn_about(session.run, step, monitor.check(metrics, held_out))
                progress.show_step(step)
                if trainer.must_stop(stop.is_requested) and not is_last:
                    session.processes.release()
                    records.save_now()
                    _end_early(session, stop, f"stopped and saved at step {step:,}")
                if step % config.save_every == 0 or is_last:
                    records.save()
                records.check_save()
            except NonFiniteError as error:
                skip_batch(session, error)
                for part in (records, monitor, progress):
                    part.rewind(trainer.step)
        records.finish()


def warn_about(run: RunDirectory | None, step: int, warnings: Iterable[HealthWarning]) -> None:
    """Show health warnings, and keep them with the run; None: there is no run yet."""
    for warning in warnings:
        console.warn(warning.problem, warning.hint)
        if run is not None:
            record_event(run, step, "warning", warning.problem, warning.key)


def _end_early(session: Session, stop: StopRequest, how: str) -> NoReturn:
    """Say why and how to go on, and raise KeyboardInterrupt."""
    text = f"{stop.reason or 'a stop was asked of another process'}: {how}"
    if session.processes.is_first:
        record_event(session.run, session.trainer.step, "stopped", text)
    console.talk(text)
    console.hint(f"go on with: electra resume {as_argument(session.run.root)}")
    raise KeyboardInterrupt
