"""RunState: all values of a checkpoint that are not tensors, validated when they are read."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class _State(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainerState(_State):
    """Progress of the trainer. The sums since the last row of the log are tensors."""

    step: int = Field(ge=0)  # completed optimizer steps
    tokens_seen: int = Field(ge=0)
    train_flops: float
    elapsed_seconds: float  # until the last row of the log
    seconds_since_row: float
    tokens_since_row: int
    masked_since_row: int
    scaler: dict[str, int | float]  # of fp16; empty in other precisions


class ReplayState(_State):
    """The next window of the older text."""

    epoch: int = Field(ge=0)
    index: int = Field(ge=0)
    num_windows: int = Field(ge=0)


class BatchesState(_State):
    """The next batch to read, and the batches that are skipped."""

    epoch: int = Field(0, ge=0)
    index: int = Field(0, ge=0)  # the next window's place in the epoch's order
    num_windows: int = Field(0, ge=0)  # of that epoch; 0 before the first batch
    num_read: int = Field(0, ge=0)
    skipped: tuple[int, ...] = ()  # numbers of batches, ascending
    replay: ReplayState | None = None


class RunState(_State):
    """Everything a run needs to go on, except tensors."""

    trainer: TrainerState
    batches: BatchesState
    log_rows: int = Field(ge=0)  # of training_log.csv when it was saved
    config: dict[str, dict[str, Any]]  # as saved: a later version may have other options
    tokenizer_sha256: str
    data_sha256: str
    num_processes: int = 1  # that trained the steps before


def state_of_format_2(values: dict[str, Any]) -> dict[str, Any]:
    """RunState's content from that of a checkpoint of format 2 (electra-cli up to 0.1)."""
    since_row = ("seconds", "tokens", "masked")
    return {
        "trainer": {
            **{name: values[name] for name in ("step", "tokens_seen", "train_flops")},
            "elapsed_seconds": values["elapsed_seconds"],
            **{f"{name}_since_row": values[f"window_{name}"] for name in since_row},
            "scaler": values["scaler"],
        },
        "batches": {
            **values["position"],
            "num_read": values["batches_read"],
            "skipped": values["skipped_batches"],
        },
        **{n: values[n] for n in ("log_rows", "config", "tokenizer_sha256", "data_sha256")},
    }


# The order of the sums in a checkpoint of format 2; 0 where the objective has no such sum.
SUMS_OF_FORMAT_2 = (
    "mlm_loss", "mlm_masked_loss", "mlm_correct", "sampled_correct", "rtd_loss", "rtd_correct",
    "rtd_found", "word_loss", "word_correct", "replaced", "predicted", "shown_masks", "judged",
    "rtd_flagged", "rtd_replaced", "words",
)  # fmt: skip
