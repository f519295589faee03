"""The optimizer: the section optim."""

from typing import Annotated

from pydantic import Field

from electra_cli.config.section import MAX_STEPS, NotSearched, Section


class OptimConfig(Section):
    """AdamW without bias correction, warm-up times linear decay (authors' optimization.py)."""

    learning_rate: float = Field(2e-4, gt=0, description="Peak learning rate.")
    num_warmup_steps: Annotated[
        int, NotSearched("search optim.warmup_fraction: trials have different numbers of steps")
    ] = Field(10_000, ge=0, le=MAX_STEPS, description="Steps of linear warm-up.")
    adam_beta1: float = Field(
        0.9, ge=0, lt=1, description="AdamW beta1 (running mean of gradients)."
    )
    adam_beta2: float = Field(
        0.999, ge=0, lt=1, description="AdamW beta2 (running mean of squared gradients)."
    )
    adam_epsilon: float = Field(
        1e-6, gt=0, description="AdamW epsilon, added to the root of the second moment."
    )
    weight_decay: float = Field(
        0.01, ge=0, description="Weight decay of all weights except biases and LayerNorm."
    )
    max_grad_norm: float | None = Field(
        1.0, gt=0, description="Clip the global norm of both networks; null turns it off."
    )
    layer_decay: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Factor of the main network's rate from layer to layer, as in fine-tuning; "
        "null: 1.",
    )
