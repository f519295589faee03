"""The flash attention operator of torch for the CPU, in obvious code.

So that what stands above the kernel can be tested without a GPU: torch's derivative of the
operator, dropout under checkpointing, compilation.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor


def weights_of(query: Tensor, key: Tensor, scale: float, window: int | None = None) -> Tensor:
    scores = query.transpose(0, 1) @ key.permute(1, 2, 0) * scale  # [A, n, n]
    if window is not None:
        places = torch.arange(len(query))
        is_far = (places[:, None] - places).abs() > window
        scores = scores.masked_fill(is_far, float("-inf"))
    return scores.softmax(-1)


def kept(weights: Tensor, dropout: float, draw: torch.Generator) -> Tensor:
    mask = (torch.rand(weights.shape, generator=draw) >= dropout) / (1 - dropout)
    return mask.to(weights.dtype)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bounds: Tensor,
    dropout: float,
    scale: float,
    seed: Tensor,
    window: int | None = None,
) -> Tensor:
    """Every sequence by itself; what is dropped follows from the seed."""
    draw = torch.Generator().manual_seed(int(seed))
    parts = []
    for begin, end in pairwise(bounds.tolist()):
        weights = weights_of(query[begin:end], key[begin:end], scale, window)
        weights = weights * kept(weights, dropout, draw)
        parts.append((weights @ value[begin:end].transpose(0, 1)).transpose(0, 1))
    return torch.cat(parts)


def window_of(options: dict[str, Any]) -> int | None:
    """Without one, the operator is given nothing, or -1."""
    window = options.get("window_size_left", -1)
    assert window == options.get("window_size_right", -1)
    return None if window == -1 else window


def scale_of(options: dict[str, Any], query: Tensor) -> float:
    """Without one, the operator is given nothing."""
    return options.get("scale") or query.shape[-1] ** -0.5


def forward_kernel(
    query, key, value, bounds, bounds_k, longest, longest_k, dropout, causal, debug, **options
):
    """The seed comes from the device's generator, as the GPU's Philox offset does."""
    assert longest == longest_k >= int(bounds.diff().max())
    assert not causal and not debug
    seed = torch.randint(2**31, ()) if dropout else torch.zeros((), dtype=torch.int64)
    window = window_of(options)
    out = attend(query, key, value, bounds, dropout, scale_of(options, query), seed, window)
    state = torch.stack([seed, torch.zeros_like(seed)]).to(torch.uint64)
    sums = query.new_zeros(query.shape[1], query.shape[0])
    return out, sums, state, state.new_empty(()), query.new_empty(0)


def backward_kernel(
    grad, query, key, value, out, sums, bounds, bounds_k, longest, longest_k, dropout, causal,
    state, unused, **options,
):  # fmt: skip
    """By hand, since nothing is recorded inside of a kernel."""
    draw = torch.Generator().manual_seed(int(state[0]))
    scale = scale_of(options, query)
    grads: list[list[Tensor]] = [[], [], []]
    for begin, end in pairwise(bounds.tolist()):
        q, k, v, g = (x[begin:end].transpose(0, 1) for x in (query, key, value, grad))
        weights = weights_of(query[begin:end], key[begin:end], scale, window_of(options))
        mask = kept(weights, dropout, draw)
        of_weights = (g @ v.mT) * mask
        scores = weights * (of_weights - (of_weights * weights).sum(-1, keepdim=True))
        scores = scores * scale
        for parts, part in zip(
            grads, (scores @ k, scores.mT @ q, (weights * mask).mT @ g), strict=True
        ):
            parts.append(part.transpose(0, 1))
    return tuple(torch.cat(parts) for parts in grads)


@contextmanager
def flash_kernels_on_cpu() -> Iterator[None]:
    library = torch.library.Library("aten", "IMPL")
    library.impl("_flash_attention_forward", forward_kernel, "CPU")
    library.impl("_flash_attention_backward", backward_kernel, "CPU")
    yield
    library._destroy()
