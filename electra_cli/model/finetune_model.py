"""Training of a network of transformers on labelled packed batches."""

# Shapes: T tokens of a packed batch, B sequences, N slots, C outputs.

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from electra_cli.batch import LabelledBatch
from electra_cli.config import OptimConfig
from electra_cli.metrics import Metrics
from electra_cli.model.cost.flops import TrainingFlops
from electra_cli.model.encoders import EncoderWeights, build_base, first_position, takes_segments
from electra_cli.model.heads import HeadKind
from electra_cli.model.layer_rates import LayerRates
from electra_cli.model.layers.attention import PackedLayout, pack_attention
from electra_cli.model.layers.dropout import replace_dropout
from electra_cli.model.layers.layer import fuse_layers
from electra_cli.model.objectives.objective import NetworkLoss, StepCounts, Trainable

# (logits [N, C] or [T, 2], targets [N, ...]) -> the loss of each slot [N]
Loss = Callable[[Tensor, LabelledBatch], Tensor]


class FinetuneModel(Trainable):
    """A network of transformers on labelled packed batches."""

    def __init__(self, network: Any, kind: HeadKind, loss: Loss, factors: LayerRates) -> None:
        super().__init__()
        pack(network)
        self.network = network
        self.kind = kind
        self._loss = loss
        self._rates = factors
        self.flops = count_flops(network.base_model)

    def losses(self, batch: LabelledBatch, step: StepCounts) -> Iterator[NetworkLoss]:
        """The mean over the step's slots: examples, windows or words."""
        loss_sum = self._loss(packed_logits(self.network, self.kind, batch), batch).sum()
        yield NetworkLoss(loss_sum / step.num_masked, {"loss": loss_sum.detach()})

    def metrics(self, sums: Mapping[str, float]) -> Metrics:
        """The mean loss of a slot."""
        return {"loss": sums.get("loss", 0.0) / sums["masked"] if sums.get("masked") else None}

    def rate_factors(self, optim: OptimConfig) -> dict[nn.Parameter, float]:
        """Lower rates for lower layers."""
        return self._rates.factors(self.network)


def pack(network: Any) -> None:
    """Let a network of transformers run on packed batches; its parameters stay what they are."""
    replace_dropout(network)
    pack_attention(network)
    fuse_layers(network)


def packed_logits(network: Any, kind: HeadKind, batch: LabelledBatch) -> Tensor:
    """Logits in float32: [N, C] of the slots, or [T, 2] of all tokens for spans."""
    base = network.base_model
    segments = {"token_type_ids": batch.token_type_ids[None]} if takes_segments(base) else {}
    inputs: dict[str, Any] = {
        "input_ids": batch.input_ids[None],
        "position_ids": batch.position_ids[None] + first_position(base),
        "layout": PackedLayout.of(batch, base),
        **segments,
    }
    if kind == "token":
        logits: Tensor = network(**inputs).logits[0, batch.positions]
        return logits.float()
    if kind == "span":
        output = network(**inputs)
        return torch.stack([output.start_logits[0], output.end_logits[0]], dim=1).float()

    def keep_first(_: nn.Module, __: Any, output: Any) -> Any:
        """The encoder's output as heads want it: one row per sequence, its first token's."""
        output.last_hidden_state = output.last_hidden_state[0, batch.positions][:, None]
        pooler = getattr(base, "pooler", None)
        if isinstance(pooler, nn.Linear):  # ALBERT's
            pooled = pooler(output.last_hidden_state[:, 0])
            output.pooler_output = base.pooler_activation(pooled)
        elif pooler is not None:
            output.pooler_output = pooler(output.last_hidden_state)
        return output

    handle = base.register_forward_hook(keep_first)
    try:
        rows: Tensor = network(**inputs).logits
    finally:
        handle.remove()
    return rows.float()


def count_flops(base: PreTrainedModel) -> TrainingFlops:
    """Forward and backward operations of any encoder: 6 per weight and token, and attention's."""
    embedded = {id(m.weight) for m in base.modules() if isinstance(m, nn.Embedding)}
    weights = sum(p.numel() for p in base.parameters() if id(p) not in embedded)
    width, layers = int(base.config.hidden_size), int(base.config.num_hidden_layers)
    return TrainingFlops(6.0 * weights, 0.0, 12.0 * width * layers)


def count_flops_of(encoder: EncoderWeights) -> TrainingFlops:
    """The same without building it."""
    return count_flops(build_base(encoder.config, on_meta=True))
