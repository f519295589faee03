import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import ElectraConfig, ElectraForPreTraining

from electra_cli.model.layers.feed_forward import feed_forward
from electra_cli.model.layers.layer import fuse_layers


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_output_and_gradients_equal_two_linears_and_gelu(dtype):
    torch.manual_seed(0)
    inner, outer = nn.Linear(5, 12), nn.Linear(12, 5)
    x = torch.randn(2, 7, 5, requires_grad=True)
    inputs = [x, inner.weight, inner.bias, outer.weight, outer.bias]
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        expected = outer(functional.gelu(inner(x)))
        found = feed_forward(x, inner.weight, inner.bias, outer.weight, outer.bias)
    assert found.dtype == expected.dtype == dtype
    assert torch.equal(found, expected)
    grad = torch.randn(expected.shape).to(dtype)
    wanted = torch.autograd.grad(expected, inputs, grad, retain_graph=True)
    for ours, theirs in zip(torch.autograd.grad(found, inputs, grad), wanted, strict=True):
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs)


def test_one_wide_tensor_is_kept_instead_of_two():
    config = ElectraConfig(
        vocab_size=50, hidden_size=8, embedding_size=8, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=104,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    plain = ElectraForPreTraining(config)
    fused = ElectraForPreTraining(config)
    fuse_layers(fused)
    fused.load_state_dict(plain.state_dict())
    input_ids = torch.arange(50).view(5, 10)

    def run(model: nn.Module) -> tuple[torch.Tensor, int]:
        wide = set()

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.numel() == 5 * 10 * 104:
                wide.add(tensor.data_ptr())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            return model(input_ids=input_ids).logits, len(wide)

    expected, kept_by_plain = run(plain)
    found, kept = run(fused)
    assert torch.equal(found, expected)
    assert (kept_by_plain, kept) == (4, 2)
