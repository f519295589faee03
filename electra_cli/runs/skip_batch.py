"""Go back to the last good checkpoint and skip a batch whose loss was not finite."""

from electra_cli import console
from electra_cli.errors import DiskFullError, NonFiniteError
from electra_cli.runs.session import Session
from electra_cli.runs.training_batches import number_of_batch
from electra_cli.runs.write_errors import record_event


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
    try:
        session.checkpoints.wait()
    except DiskFullError:
        if run.on_full_disk == "stop":
            raise
    newest = session.checkpoints.load_newest()
    if newest is None:
        raise error
    number, state = number_of_batch(error.step, skipped), newest.checkpoint.state
    session.batches.rewind(state.batches, skipped={*skipped, number})
    session.trainer.load(newest.checkpoint.tensors, state.trainer)
    console.warn(
        str(error),
        f"back to step {newest.step:,}; its batch is skipped, "
        f"{len(skipped) + 1} of at most {run.max_skipped_batches}",
    )
    record_event(session.run, error.step, "warning", f"batch {number:,} was skipped: {error}")
