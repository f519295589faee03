"""Dropout with masks that are fast to draw on a CPU."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

# 16 random bits decide whether an element is dropped, so a rate of 0.1 becomes 6554 / 65536, which
# differs by 6e-6. What is kept is scaled by the rounded rate, so expectations are exact.
_LEVELS = 2**16


def keep_mask(like: Tensor, rate: float) -> tuple[Tensor, float]:
    """(uint8 mask of like's shape, 1 where an element is kept; the scale of kept elements).

    For CPUs alone. They draw random numbers one by one, so bernoulli_ takes as long as a product
    with the layer's weights. Here 64 bits of torch's generator decide on four elements. The mask is
    uint8, because torch multiplies by bool several times slower.
    """
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
    """nn.Dropout, several times faster on a CPU; other devices run torch's own kernel."""

    def forward(self, input: Tensor) -> Tensor:
        """Input of any shape -> the same shape."""
        if input.device.type != "cpu" or not self.training or self.p == 0:
            return functional.dropout(input, self.p, self.training)
        dropped: Tensor = _Drop.apply(input, self.p)  # type: ignore[no-untyped-call]
        return dropped


def replace_dropout(module: nn.Module) -> None:
    """Replace every nn.Dropout inside `module` with a Dropout of the same rate."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, Dropout(child.p))
