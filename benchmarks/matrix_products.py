"""The matrix products of a training step alone: an upper limit for the rate of the step."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
# Where the two matrices stand among the arguments.
PRODUCTS = {
    aten.mm.default: 0,
    aten.mm.out: 0,
    aten.bmm.default: 0,
    aten.addmm.default: 1,
    aten.addmm_.default: 1,
    aten.addmm.out: 1,
    aten.baddbmm.default: 1,
    aten.baddbmm.out: 1,
}
Shapes = tuple[tuple[torch.Size, tuple[int, ...]], ...]  # size and strides of both matrices


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.products: list[Shapes] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in PRODUCTS:
            pair = args[PRODUCTS[func] :][:2]
            self.products.append(tuple((each.shape, each.stride()) for each in pair))
        return func(*args, **(kwargs or {}))


def products_of(step: Callable[[], object]) -> tuple[Callable[[], None], float]:
    """(what multiplies all matrices that `step` multiplies, forward and backward; its FLOPs).

    Sizes and memory layouts are the step's own, numbers are random; equal pairs share theirs.
    """
    recorder = _Recorder()
    with recorder:
        step()
    operands: dict[Shapes, tuple[Tensor, ...]] = {}
    flops = 0.0
    for product in recorder.products:
        if product not in operands:
            operands[product] = tuple(_random(*each) for each in product)
        left, right = operands[product]
        flops += 2 * left.numel() * right.shape[-1]
    pairs = [operands[product] for product in recorder.products]

    def multiply() -> None:
        for left, right in pairs:
            torch.matmul(left, right)

    return multiply, flops


def _random(size: torch.Size, strides: tuple[int, ...]) -> Tensor:
    extent = 1 + sum((n - 1) * stride for n, stride in zip(size, strides, strict=True))
    return torch.randn(extent).as_strided(size, strides)
