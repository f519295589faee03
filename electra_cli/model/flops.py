"""Training FLOPs of packed batches, counted from the sizes of the matrix products.

A multiply-add counts as two operations and the backward pass as twice the forward one; what is
no matrix product (LayerNorm, GELU, softmax, dropout) is left out, as is usual for the rate that
is held against a device's peak.
"""

from dataclasses import dataclass

from electra_cli.config import ModelConfig

_FORWARD_AND_BACKWARD = 3


@dataclass(frozen=True)
class TrainingFlops:
    """Operations of one training step: linear in its counts."""

    per_token: float  # both encoders and the discriminator's head
    per_masked: float  # the generator's head
    per_squared_length: float  # attention: a window of n tokens counts n * n

    def count(self, num_tokens: int, num_masked: int, squared_lengths: int) -> float:
        """Operations for so many tokens, masked slots, and the sum of squared window lengths."""
        return (
            self.per_token * num_tokens
            + self.per_masked * num_masked
            + self.per_squared_length * squared_lengths
        )


def training_flops(model: ModelConfig, vocab_size: int) -> TrainingFlops:
    """Forward and backward operations of generator and discriminator."""
    width, generator_width = model.hidden_size, model.generator_hidden_size
    embedding = model.embedding_size
    own_embedding = embedding if model.tie_embeddings else generator_width
    multiply_adds_per_token = (
        _encoder(width, model.intermediate_size, model.num_hidden_layers, embedding)
        + _encoder(
            generator_width,
            model.generator_intermediate_size,
            model.generator_layers,
            own_embedding,
        )
        + width * width
        + width
    )
    # Scores and the mixing of values: a product of [n, width] with [width, n] each.
    attention = 2 * (width * model.num_hidden_layers + generator_width * model.generator_layers)
    operations = 2 * _FORWARD_AND_BACKWARD
    return TrainingFlops(
        per_token=operations * multiply_adds_per_token,
        per_masked=operations * own_embedding * (generator_width + vocab_size),
        per_squared_length=operations * attention,
    )


def _encoder(width: int, intermediate: int, layers: int, embedding: int) -> int:
    """Multiply-adds a token, attention's products between tokens left out."""
    project = embedding * width if embedding != width else 0
    return project + layers * (4 * width * width + 2 * width * intermediate)
