import pytest
from pydantic import ValidationError

from electra_cli.training.run_state import (
    BatchesState,
    RunState,
    TrainerState,
    state_of_format_2,
)

FORMAT_2 = {
    "step": 16, "tokens_seen": 3536, "train_flops": 9.9e7, "elapsed_seconds": 0.2,
    "window_seconds": 0.01, "window_tokens": 221, "window_masked": 33, "scaler": {},
    "position": {"epoch": 1, "index": 8, "num_windows": 440}, "batches_read": 17,
    "skipped_batches": [3], "log_rows": 3, "config": {"run": {"seed": 0}},
    "tokenizer_sha256": "12ab", "data_sha256": "34cd",
}  # fmt: skip


def test_a_state_of_format_2_is_read_in_full():
    state = RunState.model_validate(state_of_format_2(FORMAT_2))
    assert state.trainer.model_dump() == {
        "step": 16, "tokens_seen": 3536, "train_flops": 9.9e7, "elapsed_seconds": 0.2,
        "seconds_since_row": 0.01, "tokens_since_row": 221, "masked_since_row": 33, "scaler": {},
    }  # fmt: skip
    assert state.batches.model_dump() == {
        "epoch": 1, "index": 8, "num_windows": 440, "num_read": 17, "skipped": (3,),
        "replay": None,
    }  # fmt: skip
    assert state.log_rows == 3
    assert state.config == {"run": {"seed": 0}}
    assert (state.tokenizer_sha256, state.data_sha256) == ("12ab", "34cd")


def test_a_state_comes_back_from_json_as_it_was():
    state = RunState.model_validate(state_of_format_2(FORMAT_2))
    assert RunState.model_validate_json(state.model_dump_json()) == state


@pytest.mark.parametrize(
    "change", [{"step": -1}, {"unknown": 1}, {"tokens_seen": "many"}, {"tokens_seen": -1}]
)
def test_what_does_not_fit_is_refused(change):
    content = state_of_format_2(FORMAT_2)
    content["trainer"] |= change
    with pytest.raises(ValidationError):
        RunState.model_validate(content)


def test_a_state_at_the_very_beginning_is_valid_and_cannot_be_changed():
    assert TrainerState(
        step=0, tokens_seen=0, train_flops=0, elapsed_seconds=0, seconds_since_row=0,
        tokens_since_row=0, masked_since_row=0, scaler={},
    ).step == 0  # fmt: skip
    start = BatchesState()
    assert start.model_dump() == {
        "epoch": 0, "index": 0, "num_windows": 0, "num_read": 0, "skipped": (),
        "replay": None,
    }  # fmt: skip
    assert BatchesState.model_validate(start.model_dump()) == start
    content = state_of_format_2({**FORMAT_2, "log_rows": 0})
    assert RunState.model_validate(content).log_rows == 0
    with pytest.raises(ValidationError, match="frozen"):
        start.epoch = 1
