"""Back to the last good checkpoint, and past a batch whose loss was not finite."""

from electra_cli import console
from electra_cli.errors import DiskFullError, NonFiniteError
from electra_cli.runs.records import note, written
from electra_cli.runs.session import Session
from electra_cli.runs.training_batches import TrainingBatches, number_of_batch


def skip_batch(session: Session, error: NonFiniteError) -> None:
    """Roll the session back and skip the batch of `error`, or raise it again.

    Raises it where run.on_nonfinite is `stop`, no checkpoint is there, or too many batches were
    skipped. The skipped batches are part of every later checkpoint, so a resume skips them, too.
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
    number = number_of_batch(error.step, skipped)
    values = {**newest.state.values, "skipped_batches": sorted({*skipped, number})}
    session.batches.close()
    session.batches = TrainingBatches(
        session.data.reader("train", session.config), run.batch_size, values, session.trainer.device
    )
    session.trainer.load_state(newest.state)
    with written(session.run.log):
        session.run.truncate_log(newest.step)
    console.warn(
        str(error),
        f"back to step {newest.step:,}; its batch is skipped, "
        f"{len(skipped) + 1} of at most {run.max_skipped_batches}",
    )
    note(session.run, error.step, "warning", f"batch {number:,} was skipped: {error}")
