"""Steps of a run repeated in this process, and compared with the checkpoint after them."""

import threading

import pytest
from conftest import CPU
from tiny_session import open_tiny, train_and_save

from electra_cli.runs.loop import train
from electra_cli.runs.session import Session, open_session
from electra_cli.runs.verification import find_differences, repeat_steps
from electra_cli.stopping import stop_request
from electra_cli.training.checkpoint import Checkpoint


def open_again(session: Session, step: int) -> Session:
    start = session.checkpoints.load(step)
    return open_session(session.run, session.config, session.data, CPU, start=start)


@pytest.mark.parametrize("num_steps", [4, 6])
def test_repeated_steps_differ_in_nothing(tmp_path, prepared, num_steps):
    """Step 4 has no row of its own in the log, unless it is the last."""
    options = {"num_steps": num_steps, "log_every": 3, "save_every": 2, "keep_checkpoints": 9}
    session = open_tiny(tmp_path, prepared, **options)
    train(session)
    session.close()
    threads = threading.active_count()
    expected = session.checkpoints.load(4)
    found = repeat_steps(open_again(session, 2), 4, expected.state)
    assert threading.active_count() == threads
    assert find_differences(found, expected) == []
    assert found.state.trainer.step == 4
    assert found.state.trainer.elapsed_seconds != expected.state.trainer.elapsed_seconds


def test_a_batch_that_the_run_skipped_is_skipped_again(tmp_path, prepared):
    session = open_tiny(tmp_path, prepared)
    train_and_save(session, 2)
    session.batches.rewind(session.batches.state(), skipped={4})
    train_and_save(session, 4)
    session.close()
    expected = session.checkpoints.load(4)
    found = repeat_steps(open_again(session, 2), 4, expected.state)
    assert find_differences(found, expected) == []


def test_a_stop_request_ends_the_repetition(tmp_path, prepared):
    session = open_tiny(tmp_path, prepared)
    train_and_save(session, 1, 2)
    with stop_request(max_minutes=0), pytest.raises(KeyboardInterrupt):
        repeat_steps(session, 6, session.checkpoints.load(2).state)
    assert session.trainer.step == 3


def test_every_difference_is_named(tmp_path, prepared):
    session = open_tiny(tmp_path, prepared)
    train_and_save(session, 1)
    session.close()
    expected = session.checkpoints.load(1)
    name, weight = next(iter(expected.tensors["model"].items()))
    model = {**expected.tensors["model"], name: weight + 0.25 * (weight == weight.max())}
    trainer = expected.state.trainer.model_copy(update={"tokens_seen": 1, "elapsed_seconds": 9.0})
    batches = expected.state.batches.model_copy(update={"num_read": 7})
    state = expected.state.model_copy(update={"trainer": trainer, "batches": batches})
    seen = expected.state.trainer.tokens_seen
    other = Checkpoint({**expected.tensors, "model": model}, state)
    assert find_differences(expected, other) == [
        f"{name} (model) by up to 0.25",
        f"tokens_seen is {seen}, it was 1",
        "num_read is 1, it was 7",
    ]
