"""Bytes that a training step needs, estimated from the sizes of what autograd keeps."""

from electra_cli.config import ModelConfig

# Weight, gradient and AdamW's two moments, float32 each.
_BYTES_PER_PARAMETER = 16
# What the program and torch take before any tensor of the model exists.
_BASE_BYTES = 600 * 2**20


def training_bytes(
    model: ModelConfig,
    trains_generator: bool,
    num_parameters: int,
    num_tokens: int,
    max_seq_length: int,
    bytes_per_activation: int,
    gradient_checkpointing: bool,
) -> int:
    """Peak memory of a micro-batch of num_tokens tokens.

    Only one encoder's activations live at a time to speak of, but both backward passes come
    after both forward passes, so both are counted.
    """
    encoders = [
        (
            model.hidden_size,
            model.intermediate_size,
            model.num_attention_heads,
            model.num_hidden_layers,
        )
    ]
    if trains_generator:
        generator = (
            model.generator_hidden_size,
            model.generator_intermediate_size,
            model.generator_heads,
            model.generator_layers,
        )
        encoders.append(generator)
    activations = 0
    for width, intermediate, heads, layers in encoders:
        # A layer keeps ten tensors of its width (the inputs of its products and LayerNorms,
        # queries, keys, values, the mixed values) and two of the feed-forward width.
        layer = 10 * width + 2 * intermediate
        if model.attention_probs_dropout_prob > 0:
            layer += 2 * heads * max_seq_length  # probabilities and their dropout mask
        kept = layers * width + layer if gradient_checkpointing else layers * layer
        activations += kept * bytes_per_activation
    return _BASE_BYTES + num_parameters * _BYTES_PER_PARAMETER + num_tokens * activations
