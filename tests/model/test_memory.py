"""The estimate of a step's memory against what autograd keeps, and against a process's peak."""

import pytest
import torch
from transformers import ElectraForPreTraining

from electra_cli.batch import Batch
from electra_cli.config import ModelConfig
from electra_cli.model.memory import layer_bytes
from electra_cli.model.networks import build_electra_configs, encode, set_initial_weights

TOKENS, WIDTH, HEADS = 512, 64, 2


def kept_bytes(num_layers: int, length: int, dropout: float, is_half: bool) -> int:
    """What autograd keeps of an encoder beside its weights, tensor by tensor."""
    model = encoder(num_layers, dropout)
    _, config = build_electra_configs(model, vocab_size=100, pad_id=0)
    network = ElectraForPreTraining(config).train()
    set_initial_weights(network, [network], model)
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        address = tensor.untyped_storage().data_ptr()
        is_copied_weight = tensor.dtype == torch.bfloat16 and TOKENS not in tensor.shape
        if address not in weights and not is_copied_weight:
            kept[address] = tensor
        return tensor

    ids = torch.zeros(TOKENS, dtype=torch.int64)
    bounds = torch.arange(0, TOKENS + 1, length, dtype=torch.int32)
    batch = Batch(ids, ids, ids, bounds, ids, ids, ids.float(), ids[:32], length)
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=is_half),
    ):
        encode(network, ids, batch)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def encoder(num_layers: int, dropout: float) -> ModelConfig:
    return ModelConfig(
        num_hidden_layers=num_layers,
        hidden_size=WIDTH,
        num_attention_heads=HEADS,
        intermediate_size=3 * WIDTH,
        embedding_size=WIDTH,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )


@pytest.mark.parametrize("is_half", [False, True])
@pytest.mark.parametrize("dropout", [0, 0.1])
@pytest.mark.parametrize("length", [16, 128])
def test_a_layer_keeps_what_is_counted(length, dropout, is_half):
    one, two = (kept_bytes(n, length, dropout, is_half) for n in (1, 2))
    counted = layer_bytes(WIDTH, 3 * WIDTH, HEADS * length, encoder(1, dropout), is_half)
    statistics = 4 * 4  # mean and deviation of two LayerNorms, float32
    assert (two - one) / TOKENS == counted + statistics
