"""Encoders of transformers to put a head on: opened, copied, or with random weights.

Only the weights of the encoder itself are kept; what a checkpoint has beside them, such as the
head that it was pre-trained with, is not.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModel,
    ElectraModel,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils import logging as transformers_logging

from electra_cli.config import ModelConfig
from electra_cli.errors import RunError
from electra_cli.hub import check_model
from electra_cli.machine import is_limit_reached
from electra_cli.model.initialization import initialize, set_sinusoids
from electra_cli.model.layer_rates import LAYER
from electra_cli.model.networks import build_electra_configs


@dataclass(frozen=True)
class EncoderWeights:
    """A pre-trained encoder, kept apart from the networks that start from it."""

    config: PreTrainedConfig
    weights: dict[str, Tensor]  # of the base model, on the host
    has_sinusoids: bool = False  # its position embeddings began as sines and cosines

    @property
    def width(self) -> int:
        """H."""
        return int(self.config.hidden_size)

    @property
    def vocab_size(self) -> int:
        """V."""
        return int(self.config.vocab_size)

    @property
    def max_length(self) -> int:
        """The longest input, in tokens."""
        base = build_base(self.config, on_meta=True)
        positions = int(getattr(self.config, "max_position_embeddings", 2**20))
        return positions - first_position(base)

    @property
    def num_layers(self) -> int:
        """L."""
        return int(self.config.num_hidden_layers)

    def first_layers(self, count: int) -> "EncoderWeights":
        """The encoder that ends after so many of its layers."""
        config = deepcopy(self.config)
        config.num_hidden_layers = count
        if getattr(config, "layer_types", None):  # of ModernBERT: the attention of each
            config.layer_types = config.layer_types[:count]
        weights = {
            name: tensor
            for name, tensor in self.weights.items()
            if (found := LAYER.search(name)) is None or int(found[1]) < count
        }
        return replace(self, config=config, weights=weights)

    def shape(self) -> str:
        """What its twin with random weights follows from, beside a seed."""
        config = self.config.to_dict()
        for name in ("architectures", "_name_or_path", "transformers_version", "dtype"):
            config.pop(name, None)  # where it comes from, and what else was saved with it
        return json.dumps([config, self.has_sinusoids], sort_keys=True, default=str)


def open_encoder(name: str) -> EncoderWeights:
    """The encoder of a folder or a Hugging Face id. Raises RunError where there is none.

    Code that comes with it never runs.
    """
    hint = (
        "name a run, a checkpoint of a run, or a folder or id with config.json and "
        "model.safetensors"
    )
    with opened_quietly(name, "encoder", hint):
        model, info = AutoModel.from_pretrained(
            name, output_loading_info=True, trust_remote_code=False
        )
    missing = sorted(key for key in info["missing_keys"] if not key.startswith("pooler."))
    if missing or info["mismatched_keys"]:
        raise RunError(
            f"{name} lacks weights of the encoder: {(missing or info['mismatched_keys'])[0]} "
            f"and {len(missing) + len(info['mismatched_keys']) - 1} more",
            hint="its config.json and model.safetensors do not belong together",
        )
    if getattr(model.config, "is_encoder_decoder", False) or not hasattr(
        model.config, "hidden_size"
    ):
        raise RunError(
            f"{name} is a {type(model).__name__}, not a text encoder",
            hint="name an encoder such as ELECTRA, BERT or RoBERTa",
        )
    return EncoderWeights(model.config, _on_host(model))


@contextmanager
def opened_quietly(name: str, kind: str, hint: str) -> Iterator[None]:
    """For a block in which transformers opens a folder or an id, without its own messages.

    Raises RunError, "NAME is no KIND that transformers opens", where it cannot.
    """
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        if not Path(name).exists():
            check_hub(name)
        yield
    except RunError:
        raise
    # transformers and safetensors raise OSError, ValueError, KeyError and bare Exception where a
    # file that the user chose lacks something or is damaged.
    except Exception as error:
        if is_limit_reached(error):
            raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        problem = f"{name} is no {kind} that transformers opens: {reason}"
        raise RunError(problem, hint=hint) from error
    finally:
        transformers_logging.set_verbosity(verbosity)


def check_hub(name: str) -> None:
    """Ask once, so that without a network this fails at once and not after a minute."""
    from huggingface_hub import try_to_load_from_cache

    if not isinstance(try_to_load_from_cache(name, "config.json"), str):
        check_model(name)


def encoder_of_checkpoint(
    model: ModelConfig, named: dict[str, Tensor], main_network: str, vocab_size: int, pad_id: int
) -> EncoderWeights:
    """The main network's encoder among the tensors of a run's checkpoint."""
    _, config = build_electra_configs(model, vocab_size, pad_id)
    prefix = f"{main_network}.electra."
    weights = {
        name.removeprefix(prefix): tensor
        for name, tensor in named.items()
        if name.startswith(prefix)
    }
    return EncoderWeights(config, weights, model.position_init == "sinusoidal")


def _on_host(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}


@torch.no_grad()
def load_weights(base: PreTrainedModel, encoder: EncoderWeights) -> None:
    """Copy the pre-trained weights into a network's encoder; a pooler may be missing or unused."""
    result = base.load_state_dict(encoder.weights, strict=False)
    wrong = [
        name
        for name in (*result.missing_keys, *result.unexpected_keys)
        if not name.startswith("pooler.")
    ]
    assert not wrong, f"an encoder does not fit its own config: {wrong[:3]}"


def draw_encoder(base: PreTrainedModel, encoder: EncoderWeights) -> None:
    """The weights before pre-training, from torch's global generator.

    The authors' for ELECTRA; for others those that transformers has just drawn.
    """
    if not isinstance(base, ElectraModel):
        return
    initialize(base, encoder.config.initializer_range)
    if encoder.has_sinusoids:
        positions = base.embeddings.position_embeddings
        set_sinusoids(positions, encoder.config.initializer_range)


def first_position(base: PreTrainedModel) -> int:
    """The position of a sequence's first token: RoBERTa and its kin count from pad id + 1."""
    positions = getattr(getattr(base, "embeddings", None), "position_embeddings", None)
    padding = getattr(positions, "padding_idx", None)
    return 0 if padding is None else int(padding) + 1


def takes_segments(base: PreTrainedModel) -> bool:
    """Whether the encoder has embeddings for the segments of a pair."""
    return int(getattr(base.config, "type_vocab_size", 0) or 0) > 1 and hasattr(
        getattr(base, "embeddings", None), "token_type_embeddings"
    )


def build_base(config: PreTrainedConfig, on_meta: bool) -> PreTrainedModel:
    """An encoder without its pre-trained weights; on_meta: without any."""
    with torch.device("meta" if on_meta else "cpu"):
        model: PreTrainedModel = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
    return model


def describe(encoder: EncoderWeights) -> dict[str, Any]:
    """Sizes, for the plan and the report."""
    base = build_base(encoder.config, on_meta=True)
    return {
        "family": encoder.config.model_type,
        "parameters": sum(parameter.numel() for parameter in base.parameters()),
        "layers": encoder.num_layers,
        "width": encoder.width,
    }
