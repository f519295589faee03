"""Bytes that a training step needs, estimated from the sizes of what autograd keeps."""

from typing import NamedTuple

from electra_cli.config import ModelConfig, PretrainConfig
from electra_cli.model.masked_lm import CPU_CHUNK_ELEMENTS, GPU_CHUNK_ELEMENTS
from electra_cli.model.objectives.registry import objective_class

# Weight, gradient and AdamW's two moments, float32 each.
_BYTES_PER_PARAMETER = 16
# What the program and torch take before any tensor of the model exists.
_BASE_BYTES = 400 * 2**20
# A CPU's malloc holds memory between blocks in use. What a process took for activations, as a
# multiple of those alive: small with 16 to 64 windows of 128, without gradient checkpointing 1.25
# to 1.33 and with it 2.7 to 3.5. python -m benchmarks.training_memory measures peaks.
CPU_HEAP_FACTOR = 1.3
CPU_HEAP_FACTOR_WITH_CHECKPOINTING = 3.3
# What a compiled layer keeps more, per token and unit of its width: base and large on an H200
# (torch 2.11) reserved 5.0 and 13.5 GB more than is counted for them uncompiled, which is 8.3.
_COMPILED_BYTES = 9


def training_bytes(
    config: PretrainConfig,
    num_parameters: int,
    micro_batch_size: int,
    *,
    is_on_cpu: bool,
    is_half: bool,
    has_flash: bool,
    is_recorded: bool,
) -> int:
    """Peak memory of a step with micro-batches of so many windows, all of full length.

    The backward pass of one network is over before another runs (Objective.losses), so the largest
    of their needs counts.
    """
    num_tokens = micro_batch_size * config.data.max_seq_length
    needs = []
    for network in _networks(config):
        # Logits, probabilities and the sums that samples need (masked_lm.py).
        chunk = 3 * 4 * (CPU_CHUNK_ELEMENTS if is_on_cpu else GPU_CHUNK_ELEMENTS)
        per_token = _token_bytes(network, config, is_on_cpu, is_half, has_flash, is_recorded)
        needs.append(num_tokens * per_token + (chunk if network.has_logits else 0))
    # Autocast's copies of the weights live until the backward pass.
    per_parameter = _BYTES_PER_PARAMETER + 2 * is_half
    heap_factor = 1.0
    if is_on_cpu and config.run.gradient_checkpointing:
        heap_factor = CPU_HEAP_FACTOR_WITH_CHECKPOINTING
    elif is_on_cpu:
        heap_factor = CPU_HEAP_FACTOR
    return _BASE_BYTES + num_parameters * per_parameter + int(heap_factor * max(needs))


class _Network(NamedTuple):
    width: int
    intermediate: int
    heads: int
    layers: int
    has_logits: bool  # over the vocabulary


def _networks(config: PretrainConfig) -> list[_Network]:
    model = config.model
    networks = [
        _Network(
            model.hidden_size,
            model.intermediate_size,
            model.num_attention_heads,
            model.num_hidden_layers,
            objective_class(config.objective.name).predicts_words,
        )
    ]
    if config.objective.trains_generator:  # a frozen one keeps nothing
        generator = _Network(
            model.generator_hidden_size,
            model.generator_intermediate_size,
            model.generator_heads,
            model.generator_layers,
            has_logits=True,
        )
        networks.append(generator)
    return networks


def _token_bytes(
    network: _Network,
    config: PretrainConfig,
    is_on_cpu: bool,
    is_half: bool,
    has_flash: bool,
    is_recorded: bool,
) -> int:
    """Bytes per token that a network keeps for its backward pass, and works in."""
    width = network.width
    scores = 0 if has_flash else network.heads * config.data.max_seq_length
    kept = layer_bytes(width, network.intermediate, scores, config.model, is_half)
    # Embeddings and head keep about four tensors. A layer works in one of the feed-forward width
    # and seven of its own (layers/scratch.py), and its backward pass makes two more, or three of
    # all scores: on a CPU attention is computed group by group.
    all_scores = 0 if is_on_cpu else 3 * 4 * scores
    beside = 4 * 4 * width + max(4 * (network.intermediate + 9 * width), all_scores)
    if config.run.compile and not is_on_cpu:
        kept += _COMPILED_BYTES * width
    if config.run.gradient_checkpointing:
        return network.layers * 4 * width + kept + beside
    # Graphs keep theirs apart from those of the passes that come before a recording.
    return network.layers * kept * (1 + is_recorded) + beside


def layer_bytes(
    width: int, intermediate: int, scores: int, model: ModelConfig, is_half_precision: bool
) -> int:
    """Bytes per token that a layer keeps for its backward pass (tests/model/cost/test_memory.py).

    `scores` is heads times length where attention keeps its probabilities, else 0.
    """
    # Float32: the input of both LayerNorms. In the precision of the products: the inputs of four.
    if is_half_precision:
        kept = 2 * 4 * width + 3 * 2 * width + 2 * intermediate
    else:
        kept = 5 * 4 * width + 4 * intermediate
    # Queries, keys, values: padded attention works in float32.
    kept += 3 * width * (2 if scores == 0 else 4)
    kept += 4 * scores
    # Masks take one byte per element.
    kept += 2 * width * (model.hidden_dropout_prob > 0)
    kept += scores * (model.attention_probs_dropout_prob > 0)
    return kept
