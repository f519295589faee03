"""Dropout whose masks cost little on a CPU."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

# 16 random bits decide on an element: a rate of 0.1 becomes 6554 / 65536, off by 6e-6, and what is
# kept is scaled by the rounded rate, so expectations are exact.
_LEVELS = 2**16


def keep_mask(like: Tensor, rate: float) -> tuple[Tensor, float]:
    """(uint8 mask of like's shape, 1 where an element stays; the scale that makes up for the rest).

    A CPU draws random numbers one by one, so bernoulli_ takes as long as a product with the layer's
    weights. Here each 64 bits of torch's generator decide on four elements. uint8, since torch
    multiplies by bool several times slower.
    """
    if like.device.type != "cpu":
        keep = torch.empty_like(like, dtype=torch.uint8).bernoulli_(1 - rate)
        return keep, 1 / (1 - rate)
    dropped = min(round(rate * _LEVELS), _LEVELS - 1)
    drawn = torch.empty((like.numel() + 3) // 4, dtype=torch.int64)
    drawn.random_(-(2**63), None)
    bits = drawn.view(torch.int16)[: like.numel()].view(like.shape)
    keep = bits >= dropped - _LEVELS // 2
    return keep.view(torch.uint8), _LEVELS / (_LEVELS - dropped)


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, rate: float) -> Tensor:
        keep, ctx.scale = keep_mask(hidden, rate)
        ctx.save_for_backward(keep)
        return (hidden * keep).mul_(ctx.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (keep,) = ctx.saved_tensors
        return (grad * keep).mul_(ctx.scale), None


class Dropout(nn.Dropout):
    """nn.Dropout, several times as fast on a CPU; other devices run torch's own kernel."""

    def forward(self, input: Tensor) -> Tensor:
        """input of any shape -> the same shape."""
        if input.device.type != "cpu" or not self.training or self.p == 0:
            return functional.dropout(input, self.p, self.training)
        dropped: Tensor = _Drop.apply(input, self.p)  # type: ignore[no-untyped-call]
        return dropped


def replace_dropout(module: nn.Module) -> None:
    """Put Dropout in the place of every nn.Dropout of `module`."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, Dropout(child.p))
