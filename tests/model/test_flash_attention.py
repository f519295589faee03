"""The operator's gradient, over a CPU kernel in obvious code that draws dropout as the GPU's."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from electra_cli.model.flash_attention import can_run_flash_attention, flash_attention

LENGTHS = (5, 1, 7)
SCALE = 0.3


def weights_of(query: Tensor, key: Tensor, scale: float) -> Tensor:
    return (query.transpose(0, 1) @ key.permute(1, 2, 0) * scale).softmax(-1)  # [A, n, n]


def kept(shape: tuple[int, ...], dropout: float, draw: torch.Generator) -> Tensor:
    return (torch.rand(shape, generator=draw) >= dropout) / (1 - dropout)


def attend(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, dropout: float, scale: float, seed
) -> Tensor:
    """Every sequence by itself; what is dropped follows from the seed."""
    draw = torch.Generator().manual_seed(int(seed))
    parts = []
    for begin, end in pairwise(bounds.tolist()):
        weights = weights_of(query[begin:end], key[begin:end], scale)
        weights = weights * kept(weights.shape, dropout, draw)
        parts.append((weights @ value[begin:end].transpose(0, 1)).transpose(0, 1))
    return torch.cat(parts)


def forward_kernel(
    query, key, value, bounds, bounds_k, longest, longest_k, dropout, causal, debug, **options
):
    """The seed comes from the device's generator, as the GPU's Philox offset does."""
    assert longest == longest_k == int(bounds.diff().max())
    assert not causal and not debug
    seed = torch.randint(2**31, ()) if dropout else torch.zeros((), dtype=torch.int64)
    out = attend(query, key, value, bounds, dropout, options["scale"], seed)
    state = torch.stack([seed, torch.zeros_like(seed)]).to(torch.uint64)
    sums = query.new_zeros(query.shape[1], query.shape[0])
    return out, sums, state, state.new_empty(()), query.new_empty(0)


def backward_kernel(
    grad, query, key, value, out, sums, bounds, bounds_k, longest, longest_k, dropout, causal,
    state, unused, **options,
):  # fmt: skip
    """By hand, since nothing is recorded inside of a kernel."""
    draw = torch.Generator().manual_seed(int(state[0]))
    grads: list[list[Tensor]] = [[], [], []]
    for begin, end in pairwise(bounds.tolist()):
        q, k, v, g = (x[begin:end].transpose(0, 1) for x in (query, key, value, grad))
        weights = weights_of(query[begin:end], key[begin:end], options["scale"])
        mask = kept(weights.shape, dropout, draw)
        of_weights = (g @ v.mT) * mask
        scores = weights * (of_weights - (of_weights * weights).sum(-1, keepdim=True))
        scores = scores * options["scale"]
        for parts, part in zip(
            grads, (scores @ k, scores.mT @ q, (weights * mask).mT @ g), strict=True
        ):
            parts.append(part.transpose(0, 1))
    return tuple(torch.cat(parts) for parts in grads)


@pytest.fixture
def cpu_kernels() -> Iterator[None]:
    library = torch.library.Library("aten", "IMPL")
    library.impl("_flash_attention_forward", forward_kernel, "CPU")
    library.impl("_flash_attention_backward", backward_kernel, "CPU")
    yield
    library._destroy()


def make_inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    shape = (sum(LENGTHS), 2, 8)
    query, key, value = (
        torch.randn(shape, generator=draw, dtype=torch.float64, requires_grad=True)
        for _ in range(3)
    )
    bounds = torch.tensor([0, *LENGTHS]).cumsum(0).int()
    return query, key, value, bounds


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_result_and_gradients_are_those_of_obvious_code(cpu_kernels, dropout):
    query, key, value, bounds = make_inputs()
    torch.manual_seed(3)
    found = flash_attention(query, key, value, bounds, max(LENGTHS), dropout, SCALE)
    torch.manual_seed(3)
    seed = torch.randint(2**31, ())
    expected = attend(query, key, value, bounds, dropout, SCALE, seed)
    torch.testing.assert_close(found, expected)
    weight = torch.randn(found.shape, dtype=found.dtype)
    found_grads = torch.autograd.grad((found * weight).sum(), (query, key, value))
    expected_grads = torch.autograd.grad((expected * weight).sum(), (query, key, value))
    for ours, theirs in zip(found_grads, expected_grads, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_checkpointed_layer_drops_the_same_weights_again(cpu_kernels):
    query, key, value, bounds = make_inputs()

    def run(*inputs: Tensor) -> Tensor:
        return flash_attention(*inputs, bounds, max(LENGTHS), 0.4, SCALE).square().sum()

    torch.manual_seed(3)
    plain = torch.autograd.grad(run(query, key, value), (query, key, value))
    torch.manual_seed(3)
    loss = checkpoint(run, query, key, value, use_reentrant=False)
    torch.rand(5)  # the generator goes on between the passes
    for ours, theirs in zip(torch.autograd.grad(loss, (query, key, value)), plain, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_two_calls_drop_different_weights(cpu_kernels):
    query, key, value, bounds = make_inputs()
    first, second = (
        flash_attention(query, key, value, bounds, max(LENGTHS), 0.4, SCALE) for _ in range(2)
    )
    assert not torch.equal(first, second)


def test_tensors_on_the_host_are_not_for_it():
    assert not can_run_flash_attention(torch.zeros(4, 2, 64, dtype=torch.bfloat16))
