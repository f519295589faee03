"""What a training step costs on one H100, computed.

Nothing here was measured on a GPU. FLOPs, bytes and kernels follow from the sizes and from what
the program runs (tests/test_scaling_doc.py counts it). Which share of a peak is reached is assumed.
"""

# Shapes: T tokens of a micro-batch, N masked slots, L window length, H hidden size, I feed-forward
# size, E embedding size, V vocabulary.

from dataclasses import dataclass

import torch

from electra_cli.config import PretrainConfig
from electra_cli.model.masked_lm import GPU_CHUNK_ELEMENTS
from electra_cli.model.objectives.registry import training_flops
from electra_cli.runs.micro_batch import (
    USABLE_MEMORY_FRACTION,
    estimate_bytes,
    largest_micro_batch,
)
from electra_cli.runs.session import count_model_parameters
from electra_cli.training.device import Compute

VOCABULARY = 30_522

_GPU = Compute(torch.device("cuda"), "bf16", has_flash=True)
# H100 SXM5 (glennklockwood.com/garden/processors/h100), and shares of it: see docs/scaling.md.
BF16_FLOPS = 989e12
HBM_BYTES_PER_SECOND = 3.35e12
MEMORY_BYTES = 80e9
PRODUCT_FRACTION = 0.65
ATTENTION_FRACTIONS = {128: 0.15, 512: 0.22}  # by window length
HBM_FRACTION = 0.6
LAUNCH_SECONDS = 8e-6

# Bytes per token and layer of all but matrix products, in multiples of (H, I), under bf16 autocast:
# residuals and LayerNorm are float32, the rest bf16.
# Forward: casts 12, dropouts 10, residual sums 20, LayerNorms 16; GELU 4 I. Backward: LayerNorms
# 40, sums of gradients 24, casts 24, dropouts 10, bias gradients 10 + 2 I, those of queries, keys
# and values put together 12; GELU again 4 I, its gradient 6 I.
EAGER_BYTES = (178, 16)
# Compiled: dropout, sum, LayerNorm and cast are one pass each way: 24 forward, 44 backward; the
# bias gradients 10 + 2 I, what puts gradients together 12 and GELU's 14 I stay.
COMPILED_BYTES = (90, 16)
# Autograd keeps, per token and layer: 6 bf16 and 2 float32 tensors H wide, 2 dropout masks, 1 bf16
# tensor I wide.
KEPT_BYTES = (22, 2)
EMBEDDING_BYTES = 130  # of E, per token and network: three look-ups, sums, LayerNorm, both ways
# Of V, per slot, float32: logits written 4, bias added 8, softmax 8, maximum 4, cumulative sum 8;
# the gradient read for that of the bias 4, made bf16 6, and read for those of hidden states and
# weight 4. Gathering reads little.
LOGIT_BYTES = 46
# Of V E, per micro-batch: three dense gradients of the word table are written 12, that of the
# logits scaled 8, and they are added up, 12 each.
TABLE_BYTES = 56
MICRO_BATCH_BYTES = 24  # per parameter: weight to bf16, gradient from bf16, gradient added up
STEP_BYTES = 40  # per parameter: AdamW 28, clipping 12
# Kernels: of a layer both ways (compiled: assumed, 12 products and 4 of attention among them), of
# the rest of a micro-batch, of a chunk of logits, of a step.
EAGER_LAUNCHES, COMPILED_LAUNCHES = 44, 33
OTHER_LAUNCHES, CHUNK_LAUNCHES, STEP_LAUNCHES = 200, 23, 60


@dataclass(frozen=True)
class Encoder:
    """The sizes of one network's encoder."""

    width: int
    intermediate: int
    heads: int
    layers: int
    embedding: int

    def linears(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of the linear layers that all tokens go through."""
        # Queries, keys and values are one product.
        layer = [(self.width, 3 * self.width), (self.width, self.width)]
        layer += [(self.width, self.intermediate), (self.intermediate, self.width)]
        project = [(self.embedding, self.width)] if self.embedding != self.width else []
        return project + layer * self.layers


def encoders(config: PretrainConfig) -> list[Encoder]:
    """Discriminator, generator; presets alone, which all share the embeddings and train both."""
    m = config.model
    assert m.tie_embeddings and config.objective.name == "electra"
    return [
        Encoder(
            m.hidden_size,
            m.intermediate_size,
            m.num_attention_heads,
            m.num_hidden_layers,
            m.embedding_size,
        ),
        Encoder(
            m.generator_hidden_size,
            m.generator_intermediate_size,
            m.generator_heads,
            m.generator_layers,
            m.embedding_size,
        ),
    ]


def product_flops(config: PretrainConfig, tokens: float, masked: float) -> dict[str, float]:
    """Both passes' operations of a micro-batch: linear layers, attention, logits."""
    length, embedding = config.data.max_seq_length, config.model.embedding_size
    main, generator = encoders(config)
    per_token = sum(i * o for e in (main, generator) for i, o in e.linears())
    per_token += main.width * main.width + main.width  # the discriminator's head
    attention = sum(e.layers * e.width for e in (main, generator))
    return {
        "products": 6 * (per_token * tokens + embedding * generator.width * masked),
        "attention": 12 * attention * length * tokens,
        "logits": 6 * embedding * VOCABULARY * masked,
    }


def kept_bytes(config: PretrainConfig, tokens: float) -> float:
    """Of activations, from the forward to the backward pass: one network's, the larger's."""
    per_token = max(
        e.layers * (KEPT_BYTES[0] * e.width + KEPT_BYTES[1] * e.intermediate)
        for e in encoders(config)
    )
    return per_token * tokens


@dataclass(frozen=True)
class Step:
    """One optimizer step of a preset."""

    tokens: int
    micro_batches: int
    windows: int  # of a micro-batch
    parameters: int
    model_flops: float
    seconds: dict[str, float]  # of the device, by part
    hbm_bytes: float
    launches: int
    kept_bytes: float
    estimated_bytes: int  # by the program's own rule

    @property
    def device_seconds(self) -> float:
        return sum(self.seconds.values())

    @property
    def launch_seconds(self) -> float:
        return self.launches * LAUNCH_SECONDS

    @property
    def total_seconds(self) -> float:
        """The host launches ahead of the device, so the slower of them counts."""
        return max(self.device_seconds, self.launch_seconds)

    @property
    def bound_by(self) -> str:
        if self.launch_seconds > self.device_seconds:
            return "launches"
        return max(self.seconds, key=lambda part: self.seconds[part])


def cost(config: PretrainConfig, compiled: bool) -> Step:
    """A step with full windows, in bf16, with dropout, through flash attention."""
    _, parameters = count_model_parameters(config, VOCABULARY)
    fits = int(MEMORY_BYTES * USABLE_MEMORY_FRACTION)
    windows = largest_micro_batch(config, parameters, fits, _GPU)
    micro_batches = config.run.batch_size // windows
    tokens = windows * config.data.max_seq_length
    masked = tokens * config.objective.mask_fraction
    hbm = HBM_BYTES_PER_SECOND * HBM_FRACTION
    flops = product_flops(config, tokens, masked)

    product_seconds = product_bytes = elementwise = attention_bytes = 0.0
    for e in encoders(config):
        for inputs, outputs in e.linears():
            # The three products of a linear layer move the same three matrices, bf16.
            moved = 2.0 * (tokens * inputs + inputs * outputs + tokens * outputs)
            computing = 2 * tokens * inputs * outputs / (BF16_FLOPS * PRODUCT_FRACTION)
            product_seconds += 3 * max(computing, moved / hbm)
            product_bytes += 3 * moved
        of_width, of_intermediate = COMPILED_BYTES if compiled else EAGER_BYTES
        layer = of_width * e.width + of_intermediate * e.intermediate
        elementwise += tokens * (e.layers * layer + EMBEDDING_BYTES * e.embedding)
        # Queries, keys, values, results and their gradients, and a float32 sum of dq.
        attention_bytes += tokens * e.layers * 34 * e.width
    logit_bytes = LOGIT_BYTES * VOCABULARY * masked
    # The backward kernel computes the scores again: 7 products where the count has 6.
    attending = (
        flops["attention"] * 7 / 6 / (BF16_FLOPS * ATTENTION_FRACTIONS[config.data.max_seq_length])
    )
    weights = MICRO_BATCH_BYTES * parameters
    weights += TABLE_BYTES * VOCABULARY * config.model.embedding_size
    once = STEP_BYTES * parameters
    seconds = {
        "linear layers": micro_batches * product_seconds,
        "attention": micro_batches * max(attending, attention_bytes / hbm),
        "elementwise": micro_batches * elementwise / hbm,
        "logits": micro_batches
        * (flops["logits"] / (BF16_FLOPS * PRODUCT_FRACTION) + logit_bytes / hbm),
        "weights": (micro_batches * weights + once) / hbm,
    }
    of_layer = COMPILED_LAUNCHES if compiled else EAGER_LAUNCHES
    layers = sum(e.layers for e in encoders(config))
    chunks = -(-int(masked) // max(1, GPU_CHUNK_ELEMENTS // VOCABULARY))
    launches = layers * of_layer + OTHER_LAUNCHES + chunks * CHUNK_LAUNCHES
    squared_lengths = tokens * config.data.max_seq_length
    counted = training_flops(config, VOCABULARY)
    moved = product_bytes + attention_bytes + elementwise + logit_bytes + weights
    return Step(
        tokens=tokens * micro_batches,
        micro_batches=micro_batches,
        windows=windows,
        parameters=parameters,
        model_flops=micro_batches * counted.count(tokens, int(masked), squared_lengths),
        seconds=seconds,
        hbm_bytes=micro_batches * moved + once,
        launches=micro_batches * launches + STEP_LAUNCHES,
        kept_bytes=kept_bytes(config, tokens),
        estimated_bytes=estimate_bytes(config, parameters, windows, _GPU),
    )
