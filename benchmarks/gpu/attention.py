"""Flash attention on a GPU against obvious code: both passes, and the mask of its dropout."""

# Shapes: T tokens of a packed batch, A heads, D head size, n tokens of a sequence.

import math
from itertools import pairwise

import torch
from torch import Tensor

from benchmarks.gpu.machine import Figures, Machine
from electra_cli.model.torch_private import flash_attention

# Relative to the norm of what is compared. A bf16 number is off by up to 2**-9 of itself, an fp16
# number by 2**-12; queries, keys, values, probabilities and results are each rounded once, and
# gradients pass through two products more.
ATTENTION_TOLERANCE = {torch.bfloat16: (0.01, 0.02), torch.float16: (0.002, 0.004)}
# The kernel decides on dropout with 8 random bits, so its rate is a multiple of 1/256
# (flash_attn/flash_api.cpp, p_dropout_in_uint8_t).
DROPOUT_STEP = 1 / 256


def attention(machine: Machine) -> Figures:
    """Packed flash attention, both passes, against float32 attention sequence by sequence."""
    worst: dict[str, float] = {}
    sizes, windows = ((32,), (20,)) if machine.is_tiny else ((32, 64, 128), (20, 128, 512))
    for dtype, (forward, backward) in ATTENTION_TOLERANCE.items():
        for size in sizes:
            for longest in windows:
                case = f"{dtype}, heads of {size}, windows up to {longest}"
                inputs, bounds = _draw(machine, [longest, longest // 2 + 1, 1, longest - 1], size)
                packed = [x.to(dtype).requires_grad_() for x in inputs]
                exact = [x.detach().float().requires_grad_() for x in packed]
                found = flash_attention(*packed, bounds, longest, 0.0)
                expected = _attend_one_by_one(exact, bounds)
                grad = torch.randn_like(expected)
                found_grads = torch.autograd.grad(found, packed, grad.to(dtype))
                expected_grads = torch.autograd.grad(expected, exact, grad.to(dtype).float())
                errors = [relative_error(found, expected)]
                errors += map(relative_error, found_grads, expected_grads)
                for limit, error in zip((forward, *[backward] * 3), errors, strict=True):
                    assert error <= limit, f"{case}: off by {error:.1e}"
                name = str(dtype).removeprefix("torch.")
                worst[name] = max(worst.get(name, 0.0), *errors)
    return {f"{name} off by at most": error for name, error in worst.items()}


def attention_dropout(machine: Machine) -> Figures:
    """The rate and independence of its mask, and that both passes drop the same weights.

    Equal scores give equal probabilities, and values that name their places show which were kept.
    """
    rate, figures = 0.1, dict[str, float | str]()
    for size, longest in ((32, 32),) if machine.is_tiny else ((32, 32), (64, 60), (128, 128)):
        lengths = [longest] * 64
        (zeros, _, _), bounds = _draw(machine, lengths, size)
        places = torch.arange(sum(lengths), device=machine.device) % longest
        named = torch.nn.functional.one_hot(places, size)[:, None].expand_as(zeros)
        query = torch.zeros_like(zeros, dtype=torch.bfloat16)
        value = named.to(torch.bfloat16).contiguous().requires_grad_()
        first, second = (
            flash_attention(query, query, value, bounds, longest, rate) for _ in range(2)
        )
        grad = torch.randn_like(first)
        (of_value,) = torch.autograd.grad(first, value, grad)
        # [windows, n, A, n]: the weight that each token gives to each place.
        weights = first.detach().float().view(64, longest, -1, size)[..., :longest]
        kept = weights > 0
        share = kept.float().mean().item()
        noise = math.sqrt(rate * (1 - rate) / kept.numel())
        assert abs(share - (1 - rate)) <= DROPOUT_STEP + 5 * noise, f"{share:.4f} are kept"
        scale = weights[kept].mean().item() * longest
        assert abs(scale * (1 - rate) - 1) <= 0.01, f"what is kept is scaled by {scale:.4f}"
        again = second.detach().float().view_as(first).view(64, longest, -1, size)[..., :longest]
        pairs = {
            "heads": (kept[:, :, 0], kept[:, :, 1]),
            "windows": (kept[0::2], kept[1::2]),
            "tokens": (kept[:, 0::2], kept[:, 1::2]),
            "calls": (kept, again > 0),
        }
        for name, (left, right) in pairs.items():
            correlation = torch.corrcoef(torch.stack([left.flatten(), right.flatten()]).float())
            limit = 5 / math.sqrt(left.numel())
            assert abs(correlation[0, 1]) <= limit, f"masks of {name}: {correlation[0, 1]:.4f}"
        of_output = grad.float().view(64, longest, -1, size)
        expected = torch.einsum("btaj,btad->bjad", weights, of_output)
        error = relative_error(of_value.float().view(64, longest, -1, size), expected)
        assert error <= 0.02, f"the backward pass drops other weights: off by {error:.2f}"
        figures[f"kept, heads of {size}"] = share
    return figures


def _draw(machine: Machine, lengths: list[int], size: int) -> tuple[list[Tensor], Tensor]:
    """Query, key, value [T, 4, size] float32, and the bounds of the sequences."""
    draw = torch.Generator().manual_seed(size)
    inputs = [torch.randn(sum(lengths), 4, size, generator=draw) for _ in range(3)]
    bounds = torch.tensor([0, *lengths]).cumsum(0).int()
    return [x.to(machine.device) for x in inputs], bounds.to(machine.device)


def _attend_one_by_one(inputs: list[Tensor], bounds: Tensor) -> Tensor:
    """[T, A, D] in obvious code."""
    mixed = []
    for begin, end in pairwise(bounds.tolist()):
        query, key, value = (x[begin:end].transpose(0, 1) for x in inputs)
        scores = query @ key.mT / math.sqrt(query.shape[-1])
        mixed.append((scores.softmax(-1) @ value).transpose(0, 1))
    return torch.cat(mixed)


def relative_error(found: Tensor, expected: Tensor) -> float:
    """The norm of the difference, relative to that of what is expected."""
    expected = expected.double()
    return ((found.double() - expected).norm() / expected.norm()).item()
