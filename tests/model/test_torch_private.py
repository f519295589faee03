"""Each private function of torch against its public alternative."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn

from electra_cli.model import torch_private

HAS_FLASH = torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)


def packed(device: str, dtype: torch.dtype) -> tuple[list[Tensor], Tensor]:
    draws = torch.Generator().manual_seed(0)
    inputs = [torch.randn(13, 2, 8, generator=draws) for _ in range(3)]
    bounds = torch.tensor([0, 5, 6, 13], dtype=torch.int32)
    return [x.to(device, dtype).requires_grad_() for x in inputs], bounds.to(device)


def attend_one_by_one(inputs: list[Tensor], bounds: Tensor, window: int | None) -> Tensor:
    mixed = []
    for begin, end in pairwise(bounds.tolist()):
        places = torch.arange(end - begin, device=bounds.device)
        distance = (places[:, None] - places).abs()
        is_seen = distance <= (end if window is None else window)
        one = [x[begin:end].transpose(0, 1) for x in inputs]
        mixed.append(functional.scaled_dot_product_attention(*one, attn_mask=is_seen, scale=0.3))
    return torch.cat(mixed, dim=1).transpose(0, 1)


@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not HAS_FLASH, reason="needs a GPU"))],
)
def test_flash_attention_is_varlen_attn_and_that_of_each_sequence(cpu_kernels, device, window):
    """On a CPU the kernel is tests/flash_kernels.py, so only the arguments' order is tested."""
    dtype, tolerance = (torch.float32, 1e-5) if device == "cpu" else (torch.bfloat16, 2e-2)
    inputs, bounds = packed(device, dtype)
    found = torch_private.flash_attention(*inputs, bounds, 7, 0.0, 0.3, window)
    expected = attend_one_by_one(inputs, bounds, window)
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    grads = torch.autograd.grad(found.float().square().sum(), inputs)
    wanted = torch.autograd.grad(expected.float().square().sum(), inputs)
    for ours, theirs in zip(grads, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=5 * tolerance)
    size = (-1, -1) if window is None else (window, window)
    public = varlen_attn(*inputs, bounds, bounds, 7, 7, scale=0.3, window_size=size)
    assert torch.equal(found, public)


def test_all_copies_are_those_of_copy():
    torch.manual_seed(0)
    sources = [torch.randn(3, 4), torch.randn(5)]
    joined = torch.empty(7, 4, dtype=torch.bfloat16)
    targets = [joined[2:5], torch.empty(5, dtype=torch.bfloat16)]
    torch_private.copy_all(targets, sources)
    assert all(torch.equal(t, s.bfloat16()) for t, s in zip(targets, sources, strict=True))


def test_all_sums_and_zeros_are_those_of_one_by_one():
    torch.manual_seed(0)
    targets, others = ([torch.randn(3, 4), torch.randn(5), torch.randn(())] for _ in range(2))
    expected = [target + other for target, other in zip(targets, others, strict=True)]
    torch_private.add_all(targets, others)
    assert all(torch.equal(t, e) for t, e in zip(targets, expected, strict=True))
    torch_private.zero_all(targets)
    assert all(torch.equal(t, torch.zeros_like(t)) for t in targets)
    torch_private.zero_all([])  # before the first step there is no gradient


def test_softmax_backward_is_the_gradient_of_softmax():
    torch.manual_seed(0)
    scores = torch.randn(3, 4, 5, requires_grad=True)
    grad = torch.randn(3, 4, 5)
    probabilities = scores.softmax(-1)
    (expected,) = torch.autograd.grad(probabilities, scores, grad)
    found = torch_private.softmax_backward(grad, probabilities.detach())
    assert torch.equal(found, expected)
    p = probabilities.detach()
    torch.testing.assert_close(found, (grad - (grad * p).sum(-1, keepdim=True)) * p)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gelu_and_its_gradient_are_those_of_functional(dtype):
    torch.manual_seed(0)
    hidden = torch.randn(6, 7, dtype=dtype, requires_grad=True)
    expected = functional.gelu(hidden)
    out = torch.full((6, 7), float("nan"), dtype=dtype)
    assert torch_private.gelu_into(out, hidden.detach()) is out
    assert torch.equal(out, expected)
    grad = torch.randn(6, 7, dtype=dtype)
    (expected_grad,) = torch.autograd.grad(expected, hidden, grad)
    assert torch_private.gelu_backward_into(grad, grad, hidden.detach()) is grad
    assert torch.equal(grad, expected_grad)


def step(optimizer: torch.optim.Optimizer, layer: nn.Linear, loss_scale: float = 1.0) -> None:
    optimizer.zero_grad()
    (layer(torch.ones(2, 3)).sum() * loss_scale).backward()
    optimizer.step()


def test_a_skipped_update_changes_nothing_as_with_a_grad_scaler():
    torch.manual_seed(0)
    ours, plain, scaled = (nn.Linear(3, 2) for _ in range(3))
    plain.load_state_dict(ours.state_dict())
    scaled.load_state_dict(ours.state_dict())
    optimizer, other, third = (
        torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True) for layer in (ours, plain, scaled)
    )
    torch_private.set_update_skipped(optimizer, torch.tensor(False))
    for each, layer in ((optimizer, ours), (other, plain), (third, scaled)):
        step(each, layer)
    before = [p.detach().clone() for p in plain.parameters()]
    assert all(map(torch.equal, ours.parameters(), before))

    torch_private.set_update_skipped(optimizer, torch.tensor(True))
    moments = [state["exp_avg"].clone() for state in optimizer.state.values()]
    step(optimizer, ours)
    assert all(map(torch.equal, ours.parameters(), before))
    assert all(map(torch.equal, moments, [state["exp_avg"] for state in optimizer.state.values()]))

    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    third.zero_grad()
    (scaler.scale(scaled(torch.ones(2, 3)).sum()) * float("inf")).backward()
    scaler.step(third)
    assert all(map(torch.equal, scaled.parameters(), before))

    torch_private.set_update_skipped(optimizer, torch.tensor(False))
    step(optimizer, ours)
    step(other, plain)
    assert all(map(torch.equal, ours.parameters(), plain.parameters()))
    assert not any(map(torch.equal, ours.parameters(), before))
