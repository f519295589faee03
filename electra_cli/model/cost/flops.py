"""Training FLOPs of packed batches, counted from the sizes of the matrix products.

A multiply-add counts as two operations and the backward pass as twice the forward one; what is
no matrix product (LayerNorm, GELU, softmax, dropout) is left out, as is usual for the rate that
is held against a device's peak.
"""

from dataclasses import dataclass

from electra_cli.config import ModelConfig, ObjectiveConfig, PretrainConfig

_FORWARD_AND_BACKWARD = 3

# Operations per element in the authors' count (flops_computation.py:27-42), and the share of
# positions that they give logits.
_DROPOUT = 4
_LAYER_NORM = 5
_GELU = 8
_SOFTMAX = 5
_AUTHORS_OUTPUT_FRACTION = 20 / 128


@dataclass(frozen=True)
class TrainingFlops:
    """Operations of one training step: linear in its counts."""

    per_token: float  # the encoders, and heads that work on all tokens
    per_masked: float  # heads that work on masked slots
    per_squared_length: float  # attention: a window of n tokens counts n * n

    def __add__(self, other: "TrainingFlops") -> "TrainingFlops":
        return TrainingFlops(
            self.per_token + other.per_token,
            self.per_masked + other.per_masked,
            self.per_squared_length + other.per_squared_length,
        )

    def __sub__(self, other: "TrainingFlops") -> "TrainingFlops":
        return TrainingFlops(
            self.per_token - other.per_token,
            self.per_masked - other.per_masked,
            self.per_squared_length - other.per_squared_length,
        )

    def count(self, num_tokens: int, num_masked: int, squared_lengths: int) -> float:
        """Operations for so many tokens, masked slots, and the sum of squared window lengths."""
        return (
            self.per_token * num_tokens
            + self.per_masked * num_masked
            + self.per_squared_length * squared_lengths
        )


def count_main(model: ModelConfig, per_token: int, per_masked: int) -> TrainingFlops:
    """Forward and backward operations of the main encoder and of a head.

    `per_token` and `per_masked` are the multiply-adds of the head for each token or masked slot
    that it works on.
    """
    width = model.hidden_size
    per_token += _encoder(
        width, model.intermediate_size, model.num_hidden_layers, model.embedding_size
    )
    return _operations(
        _FORWARD_AND_BACKWARD, per_token, per_masked, width * model.num_hidden_layers
    )


def count_generator(
    model: ModelConfig, objective: ObjectiveConfig, vocab_size: int
) -> TrainingFlops:
    """Operations of the generator: forward alone where it is frozen, none where there is none."""
    if not objective.has_generator:
        return TrainingFlops(0.0, 0.0, 0.0)
    width, embedding = model.generator_hidden_size, model.width_of_generator_embeddings
    layers = model.generator_layers
    return _operations(
        _FORWARD_AND_BACKWARD if objective.trains_generator else 1,
        _encoder(width, model.generator_intermediate_size, layers, embedding),
        embedding * (width + vocab_size),
        width * layers,
    )


def _operations(passes: int, per_token: int, per_masked: int, attention: int) -> TrainingFlops:
    """Multiply-adds, and widths times layers of attention -> operations of so many passes."""
    return TrainingFlops(
        per_token=2 * passes * per_token,
        per_masked=2 * passes * per_masked,
        # Scores and the mixing of values: a product of [n, width] with [width, n] each.
        per_squared_length=2 * passes * 2 * attention,
    )


def judging_head(model: ModelConfig) -> int:
    """Multiply-adds of the discriminator's head for each token it judges."""
    return model.hidden_size * model.hidden_size + model.hidden_size


def word_head(model: ModelConfig, vocab_size: int) -> int:
    """Multiply-adds of a head over the vocabulary for each word it predicts."""
    return model.embedding_size * (model.hidden_size + vocab_size)


def _encoder(width: int, intermediate: int, layers: int, embedding: int) -> int:
    """Multiply-adds per token, attention's products between tokens left out."""
    project = embedding * width if embedding != width else 0
    return project + layers * (4 * width * width + 2 * width * intermediate)


def authors_training_flops(config: PretrainConfig, vocab_size: int) -> float:
    """Operations of a whole run as the authors count them (flops_computation.py).

    Theirs differ from ours: every window is full, the backward pass costs as much as the forward
    one, word and position embeddings are products with one-hot vectors, 20 of 128 positions have
    logits whatever the mask fraction, and elementwise work is counted.
    """
    model, length = config.model, config.data.max_seq_length
    embedding = model.embedding_size
    own_embedding = model.width_of_generator_embeddings
    discriminator = _authors_encoder(
        model.hidden_size,
        model.intermediate_size,
        model.num_attention_heads,
        model.num_hidden_layers,
        embedding,
        length,
        vocab_size,
    )
    generator = _authors_encoder(
        model.generator_hidden_size,
        model.generator_intermediate_size,
        model.generator_heads,
        model.generator_layers,
        own_embedding,
        length,
        vocab_size,
    )
    width, generator_width = model.hidden_size, model.generator_hidden_size
    judge = 2 * width * width + width + _GELU * width + 2 * width
    predict = _AUTHORS_OUTPUT_FRACTION * (
        2 * own_embedding * (vocab_size + generator_width)
        + (1 + _GELU + _LAYER_NORM) * own_embedding
        + (_SOFTMAX + 2) * vocab_size
    )
    per_window = length * (discriminator + generator + judge + predict)
    return 2 * per_window * config.run.batch_size * config.run.num_steps


def _authors_encoder(
    width: int, intermediate: int, heads: int, layers: int, embedding: int, length: int, vocab: int
) -> int:
    """The authors' forward operations per token, input embeddings included."""
    attention = (
        4 * (2 * width * width + width)  # query, key, value, output, with biases
        + 2 * 2 * width * length  # scores, and the mixing of values
        + (_SOFTMAX + _DROPOUT + 1) * length * heads  # 1: the scale
    )
    feed_forward = 4 * width * intermediate + intermediate + width + _GELU * intermediate
    after_each = 2 * (_DROPOUT + 1) * width  # 1: the residual
    # Their count of attention's LayerNorm leaves the width out (flops_computation.py:88).
    layer_norms = _LAYER_NORM + _LAYER_NORM * width
    words_and_positions = 2 * embedding * (vocab + length + 2)
    inputs = words_and_positions + (2 + _LAYER_NORM + _DROPOUT) * embedding
    project = 2 * width * embedding + width if embedding != width else 0
    return layers * (attention + feed_forward + after_each + layer_norms) + inputs + project
