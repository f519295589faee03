"""Hugging Face's Electra modules as the authors use them: sizes, what is shared, initial weights.

Also the two ways through them on a packed batch: the encoder, and the words of some positions.
"""

# Shapes: T tokens of a packed batch, N slots to predict, H hidden size, V vocabulary.

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import ElectraConfig, ElectraForMaskedLM, ElectraForPreTraining

from electra_cli.batch import PackedTokens
from electra_cli.config import ModelConfig, ObjectiveConfig
from electra_cli.model.encoder_graphs import EncoderGraphs, GraphMemory
from electra_cli.model.initialization import initialize, set_sinusoids
from electra_cli.model.layers.attention import PackedLayout, pack_attention
from electra_cli.model.layers.dropout import replace_dropout
from electra_cli.model.layers.layer import fuse_layers
from electra_cli.model.masked_lm import MaskedLMOutput, masked_lm

# A generator or other masked language model; a discriminator.
Network = ElectraForMaskedLM | ElectraForPreTraining


def build_electra_configs(
    model: ModelConfig, vocab_size: int, pad_id: int
) -> tuple[ElectraConfig, ElectraConfig]:
    """Hugging Face's configs of (generator, discriminator)."""
    common: dict[str, Any] = {
        "vocab_size": vocab_size,
        "max_position_embeddings": model.max_position_embeddings,
        "hidden_dropout_prob": model.hidden_dropout_prob,
        "attention_probs_dropout_prob": model.attention_probs_dropout_prob,
        "initializer_range": model.initializer_range,
        "pad_token_id": pad_id,
    }
    discriminator = ElectraConfig(
        **common,
        embedding_size=model.embedding_size,
        hidden_size=model.hidden_size,
        num_hidden_layers=model.num_hidden_layers,
        num_attention_heads=model.num_attention_heads,
        intermediate_size=model.intermediate_size,
    )
    generator = ElectraConfig(
        **common,
        embedding_size=model.width_of_generator_embeddings,
        hidden_size=model.generator_hidden_size,
        num_hidden_layers=model.generator_layers,
        num_attention_heads=model.generator_heads,
        intermediate_size=model.generator_intermediate_size,
    )
    return generator, discriminator


def build_generator(
    config: ElectraConfig, main: Network, model: ModelConfig, objective: ObjectiveConfig
) -> ElectraForMaskedLM | None:
    """A generator that shares with the main network what `model` says; None if none is trained."""
    if not objective.has_generator:
        return None
    generator = ElectraForMaskedLM(config)
    if model.tie_encoders:
        generator.electra = main.electra
    elif model.tie_embeddings:
        # Word, position and segment embeddings and their LayerNorm (modeling.py:187-218).
        generator.electra.embeddings = main.electra.embeddings
    return generator


def adapt_to_packs(networks: Iterable[Network]) -> None:
    """Make Hugging Face's modules run on packed batches; their parameters stay what they are."""
    for network in networks:
        replace_dropout(network)
        pack_attention(network)
        fuse_layers(network)
        # padding_idx would drop the gradient of [PAD] where the generator samples it.
        network.electra.embeddings.word_embeddings.padding_idx = None


def draw_weights(module: nn.Module, networks: Iterable[Network], model: ModelConfig) -> None:
    """Draw all weights of `module` anew as the authors do; its `networks` are tied by then."""
    initialize(module, model.initializer_range)
    for network in networks:
        embeddings = network.electra.embeddings
        if model.position_init == "sinusoidal":
            set_sinusoids(embeddings.position_embeddings, model.initializer_range)
        if isinstance(network, ElectraForMaskedLM):
            # After the embeddings module was replaced, the head still held the old matrix.
            network.generator_lm_head.weight = embeddings.word_embeddings.weight


def encode(network: Network, input_ids: Tensor, batch: PackedTokens) -> Tensor:
    """Token ids [T] -> hidden states [T, H]."""
    graphs: EncoderGraphs | None = getattr(network, "graphs", None)
    if graphs is not None and network.training and graphs.can_run(batch):
        return graphs.encode(input_ids, batch)
    return _encode(network, input_ids, batch)


def record_encoders(networks: Iterable[Network], num_windows: int, max_length: int) -> None:
    """Let encode run CUDA graphs while the networks are trained, for so many windows at most.

    From then on the parameters' gradients must stay the same tensors.
    """
    memory = GraphMemory()
    for network in networks:
        parameters = {
            f"network.electra.{name}": parameter
            for name, parameter in network.electra.named_parameters()
            if parameter.requires_grad
        }
        if parameters:
            graphs = EncoderGraphs(_Encoder(network), parameters, num_windows, max_length, memory)
            network.graphs = graphs  # type: ignore[assignment]  # no module, so not part of it


class _Encoder(nn.Module):
    """encode without graphs, as a module."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: PackedTokens) -> Tensor:
        return _encode(self.network, batch.input_ids, batch)


def _encode(network: Network, input_ids: Tensor, batch: PackedTokens) -> Tensor:
    output = network.electra(
        input_ids=input_ids[None],
        token_type_ids=batch.token_type_ids[None],
        position_ids=batch.position_ids[None],
        layout=PackedLayout.of(batch, network.electra),
        use_cache=False,  # or transformers warns of it under gradient checkpointing
    )
    hidden: Tensor = output.last_hidden_state.squeeze(0)
    return hidden


def predict_words(
    network: ElectraForMaskedLM,
    hidden: Tensor,
    target_ids: Tensor,
    noise: Tensor | None = None,
    temperature: float = 1.0,
    disallow_correct: bool = False,
) -> MaskedLMOutput:
    """hidden [N, H], target_ids [N], noise [N] -> losses, and samples where there is noise.

    The head works on chosen positions alone (run_pretraining.py:264); Hugging Face's own forward
    makes V logits for every token.
    """
    head = network.generator_lm_head
    return masked_lm(
        network.generator_predictions(hidden),
        head.weight,
        head.bias,
        target_ids,
        noise,
        temperature,
        disallow_correct,
    )


@torch.no_grad()
def load_parameters(module: nn.Module, named: Mapping[str, Tensor]) -> None:
    """Copy what a checkpoint holds, shared tensors once. Raises KeyError if a tensor is missing."""
    for name, parameter in module.named_parameters():
        parameter.copy_(named[name])


def count_parameters(module: nn.Module) -> int:
    """Numbers that are trained, shared tensors once."""
    return sum(parameter.numel() for parameter in module.parameters())
