"""Repeat some steps of a run and compare the outcome with the checkpoint after them."""

import torch

from electra_cli.runs.session import Session
from electra_cli.stopping import stop_request
from electra_cli.training.checkpoint import Checkpoint
from electra_cli.training.run_state import RunState

# What the clock says differs from one time to the next.
_TIMES = {"elapsed_seconds", "seconds_since_row"}


def repeat_steps(session: Session, last: int, expected: RunState) -> Checkpoint:
    """Train to step `last` as the run did, without writing to it; closes the session."""
    trainer, batches = session.trainer, session.batches
    # The run may have skipped batches later, within these very steps.
    batches.rewind(batches.state(), skipped=expected.batches.skipped)
    log_every = expected.config["run"]["log_every"]
    try:
        with stop_request() as stop:
            while trainer.step < last:
                trainer.train_step(batches)
                if trainer.step % log_every == 0 or trainer.step == session.config.run.num_steps:
                    trainer.flush(batches.epochs)
                if trainer.must_stop(stop.is_requested):
                    raise KeyboardInterrupt
        state = {"trainer": trainer.state(), "batches": batches.state()}
        return Checkpoint(trainer.tensors(), expected.model_copy(update=state))
    finally:
        session.close()


def find_differences(found: Checkpoint, expected: Checkpoint) -> list[str]:
    """What differs between two checkpoints, in words; the times do not count."""
    differences = []
    for group, named in expected.tensors.items():
        for name, tensor in named.items():
            repeated = found.tensors[group][name].cpu()
            if not torch.equal(repeated, tensor):
                furthest = (repeated.double() - tensor.double()).abs().max()
                differences.append(f"{name} ({group}) by up to {furthest:.2g}")
    for part in ("trainer", "batches"):
        for name, value in getattr(found.state, part):
            wanted = getattr(getattr(expected.state, part), name)
            if name not in _TIMES and value != wanted:
                differences.append(f"{name} is {value}, it was {wanted}")
    return differences
