"""Sizes and starting weights of both networks: the section model."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from electra_cli.config.section import MAX_LAYERS, MAX_TOKENS, MAX_WIDTH, NotSearched, Section


class ModelConfig(Section):
    """Sizes of both encoders; the names are those of transformers' ElectraConfig."""

    num_hidden_layers: int = Field(
        12, ge=1, le=MAX_LAYERS, description="Layers of the discriminator."
    )
    hidden_size: int = Field(768, ge=1, le=MAX_WIDTH, description="Width of the discriminator.")
    num_attention_heads: int = Field(
        12, ge=1, le=MAX_WIDTH, description="Heads of the discriminator."
    )
    intermediate_size: int = Field(
        3072, ge=1, le=MAX_WIDTH, description="Width of its feed-forward layers."
    )
    embedding_size: int = Field(
        768, ge=1, le=MAX_WIDTH, description="Width of the shared embeddings."
    )
    max_position_embeddings: int = Field(
        512, ge=8, le=MAX_TOKENS, description="Longest sequence the model can read."
    )
    generator_width: float = Field(
        1 / 3,
        gt=0,
        le=1,
        description="Generator's width as a share of the discriminator's, rounded down to whole "
        "heads (a number or a fraction such as 1/3).",
    )
    generator_depth: float = Field(
        1.0, gt=0, le=1, description="Generator's layers as a share of the discriminator's."
    )
    hidden_dropout_prob: float = Field(0.1, ge=0, lt=1, description="Dropout after each layer.")
    attention_probs_dropout_prob: float = Field(
        0.1, ge=0, lt=1, description="Dropout on attention weights."
    )
    initializer_range: float = Field(
        0.02, gt=0, description="Standard deviation of the truncated normal initial weights."
    )
    position_init: Literal["normal", "sinusoidal"] = Field(
        "normal",
        description="Initial position embeddings; sinusoids let a small model see order sooner.",
    )
    tie_embeddings: bool = Field(
        True, description="Share the embeddings between generator and discriminator."
    )
    generator_embedding_size: int | None = Field(
        None,
        ge=1,
        le=MAX_WIDTH,
        description="Width of the generator's embeddings where it has its own; null: its width.",
    )
    tie_encoders: bool = Field(
        False,
        description="Also share all layers: one encoder with two heads "
        "(needs generator_width 1 and generator_depth 1).",
    )
    init_from: Annotated[str | None, NotSearched("all trials start alike")] = Field(
        None,
        description="Start from a run, one of its checkpoints, or a Hugging Face folder or id.",
    )
    generator_from: Annotated[str | None, NotSearched("all trials start alike")] = Field(
        None,
        description="Start the generator from a masked language model of the same vocabulary.",
    )

    @field_validator("generator_width", "generator_depth", mode="before")
    @classmethod
    def _fraction(cls, value: object) -> object:
        """Read `1/3` as a third."""
        if isinstance(value, str) and (match := re.fullmatch(r"(\d{1,9})/([1-9]\d{0,8})", value)):
            return int(match[1]) / int(match[2])
        return value

    @model_validator(mode="after")
    def _whole_heads(self) -> "ModelConfig":
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is no multiple of "
                f"num_attention_heads {self.num_attention_heads}"
            )
        return self

    @model_validator(mode="after")
    def _tied(self) -> "ModelConfig":
        is_alike = self.generator_width == self.generator_depth == 1 and self.tie_embeddings
        if self.tie_encoders and not is_alike:
            raise ValueError(
                "tie_encoders needs generator_width 1, generator_depth 1 and tie_embeddings"
            )
        return self

    @property
    def head_size(self) -> int:
        """Width of one attention head, the same in both encoders."""
        return self.hidden_size // self.num_attention_heads

    @property
    def generator_heads(self) -> int:
        """Whole heads in generator_width: the paper's 64 of small's 256 is 1/3 rounded down."""
        return max(1, int(self.num_attention_heads * self.generator_width + 1e-6))

    @property
    def generator_hidden_size(self) -> int:
        """Width of the generator."""
        return self.generator_heads * self.head_size

    @property
    def generator_intermediate_size(self) -> int:
        """Feed-forward width, in the same proportion to the width as the discriminator's."""
        return self.intermediate_size * self.generator_hidden_size // self.hidden_size

    @property
    def width_of_generator_embeddings(self) -> int:
        """Embeddings of its own are as wide as the generator (run_pretraining.py:82)."""
        if self.tie_embeddings:
            return self.embedding_size
        return self.generator_embedding_size or self.generator_hidden_size

    @property
    def starts_trained(self) -> bool:
        """Whether any network starts from trained weights."""
        return self.init_from is not None or self.generator_from is not None

    @property
    def generator_layers(self) -> int:
        """Layers of the generator."""
        return max(1, int(self.num_hidden_layers * self.generator_depth + 1e-6))
