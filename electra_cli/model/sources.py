"""Networks that training can start from: opened from a folder or id, or taken from a checkpoint.

ELECTRA's and BERT's, whose layers are the same; all weights are named as transformers' ELECTRA
names them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    BertForMaskedLM,
    ElectraConfig,
    ElectraForMaskedLM,
    ElectraForPreTraining,
)

from electra_cli.config import PretrainConfig
from electra_cli.errors import RunError
from electra_cli.model.encoders import opened_quietly
from electra_cli.model.networks import build_electra_configs
from electra_cli.model.objectives.registry import objective_class

EMBEDDINGS = "electra.embeddings."
WORD_EMBEDDINGS = "electra.embeddings.word_embeddings.weight"
LAYERS = "electra.encoder."
# Rows of the vocabulary.
OUTPUT_BIAS = "generator_lm_head.bias"
_OUTPUT_WEIGHT = "generator_lm_head.weight"  # the word embeddings
# BERT's names and ELECTRA's.
_BERT_NAMES = {
    "bert.": "electra.",
    "cls.predictions.transform.": "generator_predictions.",
    "cls.predictions.bias": OUTPUT_BIAS,
    "cls.predictions.decoder.bias": OUTPUT_BIAS,
    "cls.predictions.decoder.weight": _OUTPUT_WEIGHT,
}
# What every network of this program has, and another of the same kind may not have.
_FIXED = {
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "type_vocab_size": 2,
    "is_decoder": False,
    "add_cross_attention": False,
}


@dataclass(frozen=True)
class SourceNetwork:
    """A trained network, on the host."""

    name: str  # for messages
    config: ElectraConfig
    weights: dict[str, Tensor]  # as ElectraForPreTraining or ElectraForMaskedLM names them
    left_over: tuple[str, ...] = ()  # what it also has, and no network here has a place for
    beside: Mapping[str, Tensor] = field(default_factory=dict)  # of its objective, in no network

    @property
    def predicts_words(self) -> bool:
        """Whether it is a masked language model."""
        return OUTPUT_BIAS in self.weights

    @property
    def vocab_size(self) -> int:
        """Rows of its embeddings."""
        return len(self.weights[WORD_EMBEDDINGS])


def open_network(name: str) -> SourceNetwork:
    """The network of a folder or a Hugging Face id. Raises RunError where there is none.

    Code that comes with it never runs.
    """
    hint = (
        "name a run, a folder with config.json and model.safetensors, or a Hugging Face "
        "id, which needs the network the first time"
    )
    with opened_quietly(name, "network", hint):
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        found = _class_of(name, config)
        model, info = found.from_pretrained(
            name, output_loading_info=True, trust_remote_code=False, dtype=torch.float32
        )
    return _as_electra(name, model, info)


def _class_of(name: str, config: Any) -> Any:
    """Which class of transformers reads the most of it."""
    kind = getattr(config, "model_type", None)
    if kind not in ("electra", "bert"):
        raise RunError(
            f"{name} is a {kind or 'model of no known kind'}, not ELECTRA or BERT",
            hint="training starts from networks of the same layers; electra finetune takes others",
        )
    for option, value in _FIXED.items():
        if (found := getattr(config, option, value)) != value:
            raise RunError(
                f"{name} has {option} {found}; the networks here have {value}",
                hint="start from a network without that change",
            )
    if kind == "bert":
        return BertForMaskedLM
    is_masked_lm = any("MaskedLM" in each for each in config.architectures or ())
    return ElectraForMaskedLM if is_masked_lm else ElectraForPreTraining


def _as_electra(name: str, model: Any, info: Any) -> SourceNetwork:
    """What was read of it; transformers drew what is missing, so that is left out."""
    found, config = model.state_dict(), model.config
    missing = {*info["missing_keys"], *(str(each[0]) for each in info["mismatched_keys"])}
    lacking = sorted(key for key in missing if key.startswith(("electra.", "bert.")))
    if lacking:
        raise RunError(
            f"{name} lacks weights of the encoder: {lacking[0]} and {len(lacking) - 1} more",
            hint="its config.json and model.safetensors do not belong together",
        )
    weights = {}
    for key, tensor in found.items():
        if key not in missing:
            weights[_as_electra_names(key)] = tensor.detach()
    output = weights.pop(_OUTPUT_WEIGHT, None)
    unexpected = tuple(sorted(info["unexpected_keys"]))
    if output is not None and not torch.equal(output, weights[WORD_EMBEDDINGS]):
        # A head with a matrix of its own predicts nothing with that of the embeddings.
        unexpected = (*unexpected, _OUTPUT_WEIGHT)
        weights = {key: value for key, value in weights.items() if not key.startswith("generator_")}
    if config.model_type == "bert":
        config = ElectraConfig(embedding_size=config.hidden_size, **_sizes(config))
    return checked(SourceNetwork(name, config, weights, unexpected))


def _as_electra_names(key: str) -> str:
    for old, new in _BERT_NAMES.items():
        if key.startswith(old):
            return new + key.removeprefix(old)
    return key


def _sizes(config: Any) -> dict[str, Any]:
    names = (
        "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
        "intermediate_size", "max_position_embeddings", "hidden_dropout_prob",
        "attention_probs_dropout_prob", "pad_token_id",
    )  # fmt: skip
    return {name: getattr(config, name) for name in names}


def networks_of_run(
    name: str, config: PretrainConfig, named: dict[str, Tensor]
) -> tuple[SourceNetwork, SourceNetwork | None]:
    """The main network and the generator among the tensors of a run's checkpoint."""
    main = objective_class(config.objective.name).main_network
    vocab_size = len(named[f"{main}.{WORD_EMBEDDINGS}"])
    generator_config, main_config = build_electra_configs(config.model, vocab_size, pad_id=0)
    own, of_generator = (
        {k.removeprefix(start): t for k, t in named.items() if k.startswith(start)}
        for start in (f"{main}.", "generator.")
    )
    beside = {k: t for k, t in named.items() if not k.startswith((f"{main}.", "generator."))}
    source = checked(SourceNetwork(name, main_config, own, beside=beside))
    if not of_generator:
        return source, None
    # A checkpoint holds shared weights once, under the main network's name.
    shared = {
        key: tensor
        for key, tensor in own.items()
        if (config.model.tie_encoders and key.startswith("electra."))
        or (config.model.tie_embeddings and key.startswith(EMBEDDINGS))
    }
    return source, checked(SourceNetwork(name, generator_config, {**shared, **of_generator}))


def checked(source: SourceNetwork) -> SourceNetwork:
    """Raises RunError for weights that are not finite."""
    broken = [key for key, tensor in source.weights.items() if not tensor.isfinite().all()]
    if broken:
        raise RunError(
            f"{source.name}: {broken[0]} and {len(broken) - 1} more weights are not finite",
            hint="start from another checkpoint",
        )
    return source
