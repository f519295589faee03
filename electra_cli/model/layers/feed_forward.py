"""A layer's feed-forward part as one operation that computes GELU again in the backward pass.

Autograd would keep GELU's input and output, the two widest tensors of a layer. Here only the input
is kept: to compute the output again takes about a hundredth of the layer's time.
"""

# Shapes: T tokens, H hidden size, I feed-forward size.

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from electra_cli.model.layers.autocast import autocast_dtype
from electra_cli.model.layers.scratch import scratch_buffer
from electra_cli.model.torch_private import gelu_backward_into, gelu_into


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, inner: Tensor, inner_bias: Tensor, outer: Tensor, outer_bias: Tensor
    ) -> Tensor:
        hidden = functional.linear(x, inner, inner_bias)
        ctx.save_for_backward(x, hidden, inner, outer)
        return functional.linear(_gelu(hidden), outer, outer_bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        x, hidden, inner, outer = ctx.saved_tensors
        wide = _gelu(hidden)
        grad_outer = grad.t() @ wide
        # One buffer [T, I] holds GELU's output, then the gradient of that, then that of its input.
        torch.mm(grad, outer, out=wide)
        gelu_backward_into(wide, wide, hidden)
        return wide @ inner, wide.t() @ x, wide.sum(0), grad_outer, grad.sum(0)


def _gelu(hidden: Tensor) -> Tensor:
    """[T, I] -> [T, I], in the scratch buffer."""
    return gelu_into(scratch_buffer("feed_forward", hidden.shape, hidden), hidden)


def feed_forward(
    x: Tensor, inner: Tensor, inner_bias: Tensor, outer: Tensor, outer_bias: Tensor
) -> Tensor:
    """outer @ gelu(inner @ x + inner_bias) + outer_bias, x [..., H] -> [..., H]."""
    dtype = autocast_dtype(x)
    weights = (inner, inner_bias, outer, outer_bias)
    product: Tensor = _FeedForward.apply(  # type: ignore[no-untyped-call]
        x.flatten(0, -2).to(dtype), *(weight.to(dtype) for weight in weights)
    )
    return product.view(x.shape)
