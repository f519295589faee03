"""Weights made once for all layers give what the layers' own weights give."""

import pytest
import torch
from conftest import VOCAB_SIZE, tiny_config, tiny_reader
from torch import Tensor
from transformers import ElectraForPreTraining

from electra_cli.model.layers import attention
from electra_cli.model.layers.attention import PackedLayout
from electra_cli.model.layers.layer_weights import LayerWeights, layer_weights
from electra_cli.model.networks import adapt_to_packs, build_electra_configs


def build() -> ElectraForPreTraining:
    torch.manual_seed(0)
    config = tiny_config().model
    network = ElectraForPreTraining(build_electra_configs(config, VOCAB_SIZE, pad_id=0)[1])
    adapt_to_packs([network])
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()


def encode(
    network: ElectraForPreTraining, weights: list[LayerWeights] | None
) -> tuple[Tensor, Tensor]:
    """Hidden states, and the gradients of all parameters of the layers."""
    batch = tiny_reader(tiny_config()).read(0, 0, 5)
    hidden = network.electra(
        input_ids=batch.input_ids[None],
        token_type_ids=batch.token_type_ids[None],
        position_ids=batch.position_ids[None],
        layout=PackedLayout(batch, weights),
    ).last_hidden_state
    parameters = list(network.electra.encoder.parameters())
    with torch.autocast("cpu", enabled=False):
        gradients = torch.autograd.grad(hidden.square().mean(), parameters)
    assert all(g.dtype == torch.float32 for g in gradients)
    return hidden.detach(), torch.cat([each.flatten() for each in gradients])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("is_checkpointed", [False, True])
def test_hidden_states_and_gradients_are_the_same(monkeypatch, dtype, tolerance, is_checkpointed):
    monkeypatch.setattr(attention, "choose_kernel", lambda *_: "sdpa")
    network = build()
    if is_checkpointed:
        network.train()
        for each in network.modules():
            if isinstance(each, torch.nn.Dropout):
                each.p = 0.0
        network.activation_checkpointing_enable()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        expected, expected_gradients = encode(network, None)
        weights = layer_weights(network.electra.encoder.layer, dtype)
        found, gradients = encode(network, weights)
    assert {each.dtype for one in weights for each in one} == {dtype}
    assert weights[1].joined.shape == (96, 32)
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    off = (gradients - expected_gradients).norm() / expected_gradients.norm()
    assert off <= tolerance
