"""An encoder's weights as its matrix products take them, made once per pass for all layers.

Autocast would copy each weight and bias by itself, in each layer and again for its gradient, and
queries, keys and values would be put together there: 18 small kernels per layer and step. Here a
few kernels do it for the whole encoder. CPUs, where kernels cost no launch, do without.
"""

# Shapes: H hidden size, I feed-forward size.

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from electra_cli.model.torch_private import copy_all

_Rows = tuple[int, ...]


class LayerWeights(NamedTuple):
    """Of one layer, in the dtype of its products."""

    joined: Tensor  # [3 H, H], of queries, keys and values
    joined_bias: Tensor  # [3 H]
    mixed: Tensor  # [H, H], of attention's output
    mixed_bias: Tensor  # [H]
    inner: Tensor  # [I, H]
    inner_bias: Tensor  # [I]
    outer: Tensor  # [H, I]
    outer_bias: Tensor  # [H]


def layer_weights(layers: nn.ModuleList, dtype: torch.dtype) -> list[LayerWeights]:
    """Of each ElectraLayer in turn; their gradients come to the parameters."""
    joined = [group for layer in layers for group in _parameters_of(layer)]
    rows = [tuple(len(part) for part in group) for group in joined]
    parts = [part for group in joined for part in group]
    made: tuple[Tensor, ...] = _CopyAll.apply(dtype, rows, *parts)  # type: ignore[no-untyped-call]
    count = len(LayerWeights._fields)
    return [LayerWeights(*made[first : first + count]) for first in range(0, len(made), count)]


def _parameters_of(layer: Any) -> list[tuple[Tensor, ...]]:
    """What each of an ElectraLayer's LayerWeights is made of."""
    attention = layer.attention.self
    parts = (attention.query, attention.key, attention.value)
    others = (layer.attention.output.dense, layer.intermediate.dense, layer.output.dense)
    groups = [tuple(p.weight for p in parts), tuple(p.bias for p in parts)]
    return groups + [(each,) for linear in others for each in (linear.weight, linear.bias)]


class _CopyAll(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, dtype: torch.dtype, rows: list[_Rows], *parts: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.rows, ctx.dtype = rows, parts[0].dtype
        made, first = [], 0
        for group in rows:
            made.append(parts[first].new_empty(sum(group), *parts[first].shape[1:], dtype=dtype))
            first += len(group)
        copy_all(_split(made, rows), list(parts))
        return tuple(made)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        found = _split(grads, ctx.rows)
        if found[0].dtype != ctx.dtype:
            found, half = [torch.empty_like(each, dtype=ctx.dtype) for each in found], found
            copy_all(found, half)
        return None, None, *found


def _split(made: Any, rows: list[_Rows]) -> list[Tensor]:
    return [part for each, group in zip(made, rows, strict=True) for part in each.split(group)]
