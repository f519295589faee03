"""Networks to fine-tune: Hugging Face's classes on packed batches, with the authors' heads.

The authors classify with one linear layer on [CLS] (google-research/electra,
classification_tasks.py:267-281); Hugging Face's class has a dense layer with GELU before it. The
linear layer is trained, and exported into that class exactly: gelu(u) - gelu(-u) = u.
"""

# Shapes: T tokens of a packed batch, B sequences, N slots, H hidden size, C outputs.

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForPreTraining,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    ElectraForPreTraining,
    ElectraForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils import logging as transformers_logging

from electra_cli.batch import LabelledBatch
from electra_cli.config import OptimConfig
from electra_cli.errors import RunError
from electra_cli.metrics import Metrics
from electra_cli.model.cost.flops import TrainingFlops
from electra_cli.model.encoders import (
    EncoderWeights,
    build_base,
    check_hub,
    draw_encoder,
    first_position,
    load_weights,
    takes_segments,
)
from electra_cli.model.layer_rates import LayerRates
from electra_cli.model.layers.attention import PackedLayout, pack_attention
from electra_cli.model.layers.dropout import Dropout, replace_dropout
from electra_cli.model.layers.layer import fuse_layers
from electra_cli.model.objectives.objective import NetworkLoss, StepCounts, Trainable

HeadKind = Literal["sequence", "token", "span"]
_CLASSES: dict[HeadKind, Any] = {
    "sequence": AutoModelForSequenceClassification,
    "token": AutoModelForTokenClassification,
    "span": AutoModelForQuestionAnswering,
}
_ENDINGS: tuple[tuple[str, HeadKind], ...] = (
    ("ForSequenceClassification", "sequence"),
    ("ForTokenClassification", "token"),
    ("ForQuestionAnswering", "span"),
    ("ElectraForPreTraining", "token"),
)
# (logits [N, C] or [B, L, 2], targets [N, ...]) -> the loss of each slot [N]
Loss = Callable[[Tensor, LabelledBatch], Tensor]


@dataclass(frozen=True)
class HeadSpec:
    """What a task asks of a network."""

    kind: HeadKind
    label_names: tuple[str, ...]  # of span: none
    problem_type: str | None = None
    head_dropout: float = 0.0
    dropout: float | None = None  # of the encoder; None: as its config says


class LinearHead(nn.Module):
    """The authors' classifier: dropout, then one linear layer on [CLS]."""

    def __init__(self, width: int, num_labels: int, dropout: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.linear = nn.Linear(width, num_labels)

    def forward(self, features: Tensor, **_: Any) -> Tensor:
        """[B, any, H] -> [B, C]."""
        logits: Tensor = self.linear(self.dropout(features[:, 0]))
        return logits


def build_network(encoder: EncoderWeights, spec: HeadSpec, seed: int, is_trained: bool) -> Any:
    """A network with a new head, whose weights depend on the seed and its shape alone.

    `is_trained` False: the encoder's weights are random too, as before pre-training.
    """
    config = _config_of(encoder.config, spec)
    torch.manual_seed(seed)
    network = _CLASSES[spec.kind].from_config(config)
    base = network.base_model
    if is_trained:
        load_weights(base, encoder)
    else:
        draw_encoder(base, encoder)
    torch.manual_seed(seed)
    if isinstance(network, ElectraForSequenceClassification):
        num_labels = len(spec.label_names)
        # Hugging Face's class holds a linear head if two of its H rows are left per output.
        if 2 * num_labels <= encoder.width:
            head: Any = LinearHead(encoder.width, num_labels, spec.head_dropout)
            network.classifier = head
    _draw_head(network, base)
    return network


def _config_of(encoder_config: PreTrainedConfig, spec: HeadSpec) -> Any:
    config: Any = deepcopy(encoder_config)
    if spec.kind != "span":
        config.id2label = dict(enumerate(spec.label_names))
        config.label2id = {name: index for index, name in enumerate(spec.label_names)}
    else:
        config.num_labels = 2
    config.problem_type = spec.problem_type
    config.classifier_dropout = spec.head_dropout
    if hasattr(config, "classifier_pooling"):  # of ModernBERT, whose mean needs padded rows
        config.classifier_pooling = "cls"
    if spec.dropout is not None:
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            setattr(config, name, spec.dropout)
    return config


def _draw_head(network: PreTrainedModel, base: PreTrainedModel) -> None:
    """The authors' initial head: Glorot uniform, biases 0 (tf.layers.dense's defaults)."""
    of_base = {id(parameter) for parameter in base.parameters()}
    for module in network.modules():
        if isinstance(module, nn.Linear) and id(module.weight) not in of_base:
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


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


@torch.no_grad()
def as_exported(network: Any, kind: HeadKind, scale: float = 1.0, shift: float = 0.0) -> Any:
    """A copy as transformers' own class has it, with the same logits times scale plus shift."""
    # As saved: without the name of the packed attention.
    config = type(network.config).from_dict(network.config.to_dict())
    plain = _CLASSES[kind].from_config(config)
    own = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    head = getattr(network, "classifier", None)
    if isinstance(head, LinearHead):
        prefix = "classifier.linear."
        weight, bias = own.pop(f"{prefix}weight"), own.pop(f"{prefix}bias")
        own |= {f"classifier.{n}": t for n, t in _two_layers(weight, bias, config).items()}
    plain.load_state_dict(own)
    if scale != 1.0 or shift != 0.0:
        last = [module for module in plain.modules() if isinstance(module, nn.Linear)][-1]
        last.weight *= scale
        last.bias.mul_(scale).add_(shift)
    return plain.eval()


def _two_layers(weight: Tensor, bias: Tensor, config: PreTrainedConfig) -> dict[str, Tensor]:
    """W [C, H], b [C] -> dense and out_proj of ElectraClassificationHead, the same function."""
    outputs, width = weight.shape
    dense, dense_bias = weight.new_zeros(width, width), weight.new_zeros(width)
    dense[:outputs], dense[outputs : 2 * outputs] = weight, -weight
    dense_bias[:outputs], dense_bias[outputs : 2 * outputs] = bias, -bias
    last = weight.new_zeros(outputs, width)
    rows = torch.arange(outputs)
    last[rows, rows], last[rows, outputs + rows] = 1.0, -1.0
    return {
        "dense.weight": dense,
        "dense.bias": dense_bias,
        "out_proj.weight": last,
        "out_proj.bias": weight.new_zeros(outputs),
    }


def open_finetuned(name: str | Path) -> tuple[Any, HeadKind]:
    """A model that answers something, and what: labels, or of a discriminator, tokens.

    Raises RunError if it is none, or lacks a weight: transformers would draw a head at random.
    """
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        if not Path(name).exists():
            check_hub(str(name))
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        architecture = (config.architectures or [""])[0]
        kind = next((kind for ending, kind in _ENDINGS if architecture.endswith(ending)), None)
        info: dict[str, Any] = {}
        if kind is not None:
            auto = AutoModelForPreTraining if is_discriminator(config) else _CLASSES[kind]
            network, info = auto.from_pretrained(
                name, output_loading_info=True, trust_remote_code=False
            )
    except Exception as error:  # as in open_encoder
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise RunError(
            f"{name} is no model that transformers opens: {reason}",
            hint="name a folder that electra finetune made, or a discriminator",
        ) from error
    if kind is None:
        raise RunError(
            f"{name} is a {architecture or 'model of an unknown kind'}, which answers nothing yet",
            hint="fine-tune it first: electra finetune ENCODER --train FILE",
        )
    if info["missing_keys"] or info["mismatched_keys"]:
        missing = (*sorted(info["missing_keys"]), *info["mismatched_keys"])
        raise RunError(
            f"{name} lacks {missing[0]} and {len(missing) - 1} more weights",
            hint="copy the folder again",
        )
    return network, kind


def is_discriminator(config: PreTrainedConfig) -> bool:
    """Whether a model says of each token whether it was replaced."""
    return (config.architectures or [""])[0] == ElectraForPreTraining.__name__
