"""Go back to the last good checkpoint and skip a batch whose loss was not finite."""

from electra_cli import console
from electra_cli.errors import DiskFullError, NonFiniteError
from electra_cli.runs.agreement import read_checkpoint
from electra_cli.runs.session import Session
from electra_cli.runs.training_batches import number_of_batch
from electra_cli.runs.write_errors import record_event
from electra_cli.training.checkpoint import Checkpoint


def skip_batch(session: Session, error: NonFiniteError) -> None:
    """Take trainer and batches back to the last checkpoint and skip the batch of `error`.

    Raises `error` again where run.on_nonfinite is `stop`, no checkpoint is there, or too many
    batches were skipped. The skipped batches are part of every later checkpoint, so a resume skips
    them, too.
    """
    run, skipped = session.config.run, session.batches.skipped
    if run.on_nonfinite == "stop":
        raise error
    if len(skipped) >= run.max_skipped_batches:
        raise NonFiniteError(
            f"{error}; {len(skipped)} batches were skipped before", error.hint, error.step
        )
    step, newest = read_checkpoint(session.processes, lambda: _read_newest(session))
    if newest is None:
        raise error
    number, state = number_of_batch(error.step, skipped), newest.state
    session.batches.rewind(state.batches, skipped={*skipped, number})
    session.trainer.load(newest.tensors, state.trainer)
    if not session.processes.is_first:
        return
    console.warn(
        str(error),
        f"back to step {step:,}; its batch is skipped, "
        f"{len(skipped) + 1} of at most {run.max_skipped_batches}",
    )
    record_event(session.run, error.step, "warning", f"batch {number:,} was skipped: {error}")


def _read_newest(session: Session) -> tuple[int, Checkpoint | None]:
    try:
        session.checkpoints.wait()
    except DiskFullError:
        if session.config.run.on_full_disk == "stop":
            raise
    newest = session.checkpoints.load_newest()
    return (0, None) if newest is None else (newest.step, newest.checkpoint)
