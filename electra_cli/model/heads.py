"""Heads for fine-tuning: Hugging Face's classes, with the authors' heads.

The authors classify with one linear layer on [CLS] (google-research/electra,
classification_tasks.py:267-281); Hugging Face's class has a dense layer with GELU before it. The
linear layer is trained, and exported into that class exactly: gelu(u) - gelu(-u) = u.
"""

# Shapes: B sequences, H hidden size, C outputs.

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    ElectraForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from electra_cli.model.encoders import EncoderWeights, draw_encoder, load_weights
from electra_cli.model.layers.dropout import Dropout

HeadKind = Literal["sequence", "token", "span"]
HEAD_CLASSES: dict[HeadKind, Any] = {
    "sequence": AutoModelForSequenceClassification,
    "token": AutoModelForTokenClassification,
    "span": AutoModelForQuestionAnswering,
}


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
    network = HEAD_CLASSES[spec.kind].from_config(config)
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


@torch.no_grad()
def as_exported(network: Any, kind: HeadKind, scale: float = 1.0, shift: float = 0.0) -> Any:
    """A copy as transformers' own class has it, with the same logits times scale plus shift."""
    # As saved: without the name of the packed attention.
    config = type(network.config).from_dict(network.config.to_dict())
    plain = HEAD_CLASSES[kind].from_config(config)
    own = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    head = getattr(network, "classifier", None)
    if isinstance(head, LinearHead):
        prefix = "classifier.linear."
        weight, bias = own.pop(f"{prefix}weight"), own.pop(f"{prefix}bias")
        own |= {f"classifier.{n}": t for n, t in _two_layers(weight, bias).items()}
    plain.load_state_dict(own)
    if scale != 1.0 or shift != 0.0:
        last = [module for module in plain.modules() if isinstance(module, nn.Linear)][-1]
        last.weight *= scale
        last.bias.mul_(scale).add_(shift)
    return plain.eval()


def _two_layers(weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
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
