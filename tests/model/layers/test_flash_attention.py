"""The operator's gradient and its dropout, over a CPU kernel in obvious code."""

import pytest
import torch
from flash_kernels import attend
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from electra_cli.model.layers.attention import choose_kernel
from electra_cli.model.layers.flash_attention import can_run_flash_attention
from electra_cli.model.torch_private import flash_attention

LENGTHS = (5, 1, 7)
SCALE = 0.3


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
    assert not can_run_flash_attention(torch.device("cpu"), torch.bfloat16, 64)


@pytest.mark.parametrize(
    ("number", "dtype", "head_size", "capability", "kernel"),
    [
        (1, torch.bfloat16, 64, (8, 0), "flash"),
        (2, torch.float16, 8, (9, 0), "flash"),
        (3, torch.bfloat16, 256, (8, 6), "flash"),
        (4, torch.bfloat16, 264, (9, 0), "sdpa"),
        (5, torch.bfloat16, 60, (9, 0), "sdpa"),
        (6, torch.float32, 64, (9, 0), "sdpa"),
        (7, torch.float16, 64, (7, 5), "sdpa"),  # before Ampere
    ],
)
def test_a_gpu_runs_what_its_kernel_takes(
    monkeypatch, number, dtype, head_size, capability, kernel
):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    gpu = torch.device("cuda", number)
    assert can_run_flash_attention(gpu, dtype, head_size) == (kernel == "flash")
    assert choose_kernel(gpu, dtype, head_size) == kernel


def test_to_ask_for_the_capability_breaks_no_compiled_graph(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))

    @torch.compile(fullgraph=True, backend="eager")
    def shift(tensor: Tensor) -> Tensor:
        gpu = torch.device("cuda", 98)
        return tensor + can_run_flash_attention(gpu, torch.bfloat16, 64)

    assert shift(torch.zeros(1)).item() == 1


def test_the_capability_is_asked_once(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda d: asked.append(d) or (8, 0))
    device = torch.device("cuda:99")
    assert all(can_run_flash_attention(device, torch.float16, 64) for _ in range(3))
    assert asked == [device]
