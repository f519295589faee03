"""A layer's second product, with the GELU before it computed again in the backward pass.

GELU keeps its input and the product keeps GELU's output: the two widest tensors of a layer. The
output is an elementwise step from the input, which costs about a hundredth of the time to repeat.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from transformers.models.electra.modeling_electra import ElectraLayer


class _GeluLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(hidden, weight)
        return functional.linear(functional.gelu(hidden), weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden, weight = ctx.saved_tensors
        rows = grad.flatten(0, -2)
        # At its peak a step holds one of the widest tensors beside what is kept: GELU's output is
        # gone when its gradient is made, which becomes that of the input in place.
        grad_weight = rows.t() @ functional.gelu(hidden).flatten(0, -2)
        # Under autocast the weight alone is float32.
        grad_activated = grad @ weight.to(grad.dtype)
        torch.ops.aten.gelu_backward.grad_input(grad_activated, hidden, grad_input=grad_activated)
        return grad_activated, grad_weight.to(weight.dtype), rows.sum(0).to(weight.dtype)


class GeluLinear(nn.Linear):
    """nn.Linear of GELU of its input."""

    def forward(self, input: Tensor) -> Tensor:
        """[..., in_features] -> [..., out_features]."""
        product: Tensor = _GeluLinear.apply(  # type: ignore[no-untyped-call]
            input, self.weight, self.bias
        )
        return product


def fuse_gelu(module: nn.Module) -> None:
    """Move the GELU of every layer of `module` into the product after it; names stay."""
    for layer in module.modules():
        if isinstance(layer, ElectraLayer):
            dense = layer.output.dense
            layer.intermediate.intermediate_act_fn = nn.Identity()
            with torch.device("meta"):  # no memory, and no random numbers of the run's seed
                fused = GeluLinear(dense.in_features, dense.out_features)
            fused.weight, fused.bias = dense.weight, dense.bias
            layer.output.dense = fused
