"""How long, how often and on what: the section run."""

import math
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from electra_cli.config.section import (
    MAX_SEED,
    MAX_STEPS,
    MAX_WINDOWS,
    NOT_LEARNED,
    SAME_RESULT,
    Changeable,
    NotSearched,
    Section,
)

TrackerName = Literal["tensorboard", "wandb", "trackio", "mlflow"]


def _one_or_several(value: object) -> object:
    """Read `tensorboard` as a list of one, and a repeated name once."""
    names = [value] if isinstance(value, str) else value
    if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
        return list(dict.fromkeys(names))
    return names


TrackerNames = Annotated[tuple[TrackerName, ...], BeforeValidator(_one_or_several)]


class RunConfig(Section):
    """How long, how large, how often, and on what."""

    num_steps: Annotated[
        int, NotSearched("it follows from the FLOPs that every trial may spend")
    ] = Field(766_000, ge=1, le=MAX_STEPS, description="Total number of optimizer steps.")
    batch_size: int = Field(256, ge=1, le=MAX_WINDOWS, description="Windows per optimizer step.")
    micro_batch_size: Annotated[int | None, Changeable()] = Field(
        None,
        ge=1,
        le=MAX_WINDOWS,
        description="Windows per forward pass, at most; a divisor of batch_size. null takes the "
        "largest that fits in memory.",
    )
    seed: Annotated[int, NotSearched("a better seed is luck, not a better setting")] = Field(
        0, ge=0, le=MAX_SEED, description="Seed of weights, order, masks and samples."
    )
    precision: Annotated[Literal["auto", "fp32", "bf16", "fp16"], Changeable()] = Field(
        "auto", description="Matmul precision; auto picks the fastest the device supports."
    )
    device: Annotated[str, Changeable(), SAME_RESULT] = Field(
        "auto", description="auto, cpu, cuda, cuda:N or mps."
    )
    gradient_checkpointing: Annotated[bool, Changeable()] = Field(
        False, description="Recompute activations in the backward pass: less memory, more time."
    )
    compile: Annotated[bool, Changeable(), SAME_RESULT] = Field(
        False, description="Compile both encoders with torch.compile (GPU)."
    )
    cuda_graphs: Annotated[bool, Changeable(), SAME_RESULT] = Field(
        False,
        description="Run encoders as CUDA graphs: faster where the host is slower than the GPU.",
    )
    deterministic: Annotated[bool, Changeable(), SAME_RESULT] = Field(
        False, description="Add gradients in a fixed order on a GPU, which takes longer."
    )
    log_every: Annotated[int, Changeable(), NOT_LEARNED] = Field(
        100, ge=1, le=MAX_STEPS, description="Steps between rows of training_log.csv."
    )
    eval_every: Annotated[int, Changeable(), NOT_LEARNED] = Field(
        5_000,
        ge=1,
        le=MAX_STEPS,
        description="Steps between held-out evaluations; a multiple of log_every.",
    )
    num_eval_windows: Annotated[int, NOT_LEARNED] = Field(
        2_048, ge=1, le=MAX_WINDOWS, description="Maximum held-out windows per evaluation."
    )
    probes: Annotated[tuple[str, ...], Changeable(), NOT_LEARNED] = Field(
        (),
        description="Files to probe the model with: text and label, or minimal pairs good and bad.",
    )
    probe_every: Annotated[int | None, Changeable(), NOT_LEARNED] = Field(
        None,
        ge=1,
        le=MAX_STEPS,
        description="Steps between probes, a multiple of eval_every; null: so many that they cost "
        "less than 5%.",
    )
    save_every: Annotated[int, Changeable(), NOT_LEARNED] = Field(
        5_000, ge=1, le=MAX_STEPS, description="Steps between checkpoints."
    )
    keep_checkpoints: Annotated[int, Changeable(), NOT_LEARNED] = Field(
        3, ge=1, le=MAX_STEPS, description="Number of newest checkpoints to keep."
    )
    keep_every: Annotated[int | None, Changeable(), NOT_LEARNED] = Field(
        None,
        ge=1,
        le=MAX_STEPS,
        description="Also keep checkpoints whose step is a multiple of this; a multiple of "
        "save_every.",
    )
    report_to: Annotated[TrackerNames, Changeable(), SAME_RESULT] = Field(
        (),
        description="Where rows of the log also go: tensorboard, wandb, trackio, mlflow; one or a "
        "list.",
    )
    on_full_disk: Annotated[Literal["stop", "continue"], Changeable(), SAME_RESULT] = Field(
        "stop",
        description="When the disk is full: stop, or continue and try to write again later.",
    )
    on_nonfinite: Annotated[Literal["stop", "skip"], Changeable(), NOT_LEARNED] = Field(
        "stop",
        description="When a loss is not finite: stop, or go back to the last checkpoint and skip "
        "the batch.",
    )
    max_skipped_batches: Annotated[int, Changeable(), NOT_LEARNED] = Field(
        3,
        ge=1,
        le=MAX_STEPS,
        description="Maximum number of batches that on_nonfinite: skip may skip.",
    )

    @property
    def windows_per_pass(self) -> int:
        """Windows per forward pass: micro_batch_size, or the whole batch where it is null."""
        return self.micro_batch_size or self.batch_size

    def num_parts(self, num_processes: int = 1) -> int:
        """Micro-batches of a step: a multiple of the processes, none above windows_per_pass."""
        return num_processes * math.ceil(self.batch_size / num_processes / self.windows_per_pass)

    def windows_of_part(self, num_processes: int = 1) -> int:
        """Windows of the largest micro-batch."""
        return math.ceil(self.batch_size / self.num_parts(num_processes))

    @model_validator(mode="after")
    def _divisible(self) -> "RunConfig":
        if self.micro_batch_size is not None and self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size {self.batch_size} is no multiple of "
                f"micro_batch_size {self.micro_batch_size}"
            )
        if self.eval_every % self.log_every:
            raise ValueError(
                f"eval_every {self.eval_every} is no multiple of log_every {self.log_every}"
            )
        if self.probe_every is not None and self.probe_every % self.eval_every:
            raise ValueError(
                f"probe_every {self.probe_every} is no multiple of eval_every {self.eval_every}"
            )
        if self.keep_every is not None and self.keep_every % self.save_every:
            raise ValueError(
                f"keep_every {self.keep_every} is no multiple of save_every {self.save_every}"
            )
        return self
