"""Bytes that a training step needs, estimated from the sizes of what autograd keeps."""

from electra_cli.config import ModelConfig, ObjectiveConfig
from electra_cli.model.masked_lm import CPU_CHUNK_ELEMENTS, GPU_CHUNK_ELEMENTS

# Weight, gradient and AdamW's two moments, float32 each.
_BYTES_PER_PARAMETER = 16
# What the program and torch take before any tensor of the model exists.
_BASE_BYTES = 400 * 2**20
# A CPU's malloc holds memory between blocks in use. What a process took for activations, as a
# multiple of those alive: small with 16 to 64 windows of 128, without gradient checkpointing 1.25
# to 1.33 and with it 2.7 to 3.5. python -m benchmarks.training_memory measures peaks.
CPU_HEAP_FACTOR = 1.3
CPU_HEAP_FACTOR_WITH_CHECKPOINTING = 3.3


def training_bytes(
    model: ModelConfig,
    objective: ObjectiveConfig,
    num_parameters: int,
    num_tokens: int,
    max_seq_length: int,
    is_on_cpu: bool,
    is_half_precision: bool,
    runs_flash_attention: bool,
    gradient_checkpointing: bool,
) -> int:
    """Peak memory of a micro-batch of num_tokens tokens.

    The generator's backward pass is over before the main network runs (Pretrainer._generator_loss),
    so the larger of the two needs counts.
    """
    # Logits, probabilities and the sums that samples need (masked_lm.py).
    chunk = 3 * 4 * (CPU_CHUNK_ELEMENTS if is_on_cpu else GPU_CHUNK_ELEMENTS)
    networks = [
        (
            model.hidden_size,
            model.intermediate_size,
            model.num_attention_heads,
            model.num_hidden_layers,
            0 if objective.name.startswith("electra") else chunk,
        )
    ]
    if objective.trains_generator:
        generator = (
            model.generator_hidden_size,
            model.generator_intermediate_size,
            model.generator_heads,
            model.generator_layers,
            chunk,
        )
        networks.append(generator)
    needs = []
    for width, intermediate, heads, layers, logits in networks:
        scores = 0 if runs_flash_attention else heads * max_seq_length
        kept = layer_bytes(width, intermediate, scores, model, is_half_precision)
        # Embeddings and head keep about four tensors. A layer works in one of the feed-forward
        # width and seven of its own (workspace.py), and its backward pass makes two more, or three
        # of all scores: a CPU goes by groups.
        all_scores = 0 if is_on_cpu else 3 * 4 * scores
        beside = 4 * 4 * width + max(4 * (intermediate + 9 * width), all_scores)
        if gradient_checkpointing:
            per_token = layers * 4 * width + kept + beside
        else:
            per_token = layers * kept + beside
        needs.append(num_tokens * per_token + logits)
    # Autocast's copies of the weights live until the backward pass.
    per_parameter = _BYTES_PER_PARAMETER + 2 * is_half_precision
    heap_factor = 1.0
    if is_on_cpu:
        heap_factor = (
            CPU_HEAP_FACTOR_WITH_CHECKPOINTING if gradient_checkpointing else CPU_HEAP_FACTOR
        )
    return _BASE_BYTES + num_parameters * per_parameter + int(heap_factor * max(needs))


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
    # Masks have a byte an element.
    kept += 2 * width * (model.hidden_dropout_prob > 0)
    kept += scores * (model.attention_probs_dropout_prob > 0)
    return kept
