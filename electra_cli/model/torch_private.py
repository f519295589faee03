"""The functions of torch that this program uses though torch does not document them.

Each wrapper names its public alternative and why that is not used. A new version of torch may
change them: tests/model/test_torch_private.py compares each with its alternative.
"""

# Shapes: T tokens of a packed batch, B sequences, A heads, D head size.

from typing import cast

import torch
from torch import Tensor


def flash_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seqlens: Tensor,
    max_length: int,
    dropout: float,
    scale: float | None = None,
    window: int | None = None,
) -> Tensor:
    """query [T, A, D], key, value [T, heads that divide A, D], cu_seqlens [B + 1] -> [T, A, D].

    cu_seqlens is int32. `dropout` is the probability that an attention weight is dropped, 0 in
    evaluation; `scale` multiplies the scores, by default 1 / sqrt(D); a token sees those at most
    `window` places away, by default its whole sequence.

    Differentiable: the forward pass keeps T logsumexps per head, and the seed and offset of the
    device's generator, from which the backward pass draws the same dropout mask again. That
    generator advances as for any dropout, so a recomputation under torch.utils.checkpoint, which
    sets it back, drops the same weights.

    Public: torch.nn.attention.varlen.varlen_attn, which sets dropout to 0. torch's own attention
    for nested tensors calls this operator in the same way (torch/nested/_internal/sdpa.py).
    """
    mixed = torch.ops.aten._flash_attention_forward(
        query,
        key,
        value,
        cu_seqlens,
        cu_seqlens,
        max_length,
        max_length,
        dropout,
        False,  # is_causal
        False,  # return_debug_mask
        scale=scale,
        window_size_left=window,
        window_size_right=window,
    )[0]
    return cast(Tensor, mixed)


def copy_all(targets: list[Tensor], sources: list[Tensor]) -> None:
    """Copy each source into its target, whatever their dtypes; a GPU runs few kernels for all.

    Public: Tensor.copy_, one by one.
    """
    torch._foreach_copy_(targets, sources)


def zero_all(tensors: list[Tensor]) -> None:
    """Set every element of each to 0; a GPU runs few kernels for all.

    Public: Tensor.zero_, one by one, and Optimizer.zero_grad, whose own work takes the host longer.
    """
    if tensors:  # torch raises where there is none
        torch._foreach_zero_(tensors)


def add_all(targets: list[Tensor], others: list[Tensor]) -> None:
    """Add each of the others to its target; a GPU runs few kernels for all.

    Public: Tensor.add_, one by one.
    """
    torch._foreach_add_(targets, others)


def softmax_backward(grad: Tensor, probabilities: Tensor) -> Tensor:
    """Gradient of softmax's output over the last dimension, and that output -> of its input.

    Public: (grad - (grad * probabilities).sum(-1, keepdim=True)) * probabilities, which reads and
    writes every element three times instead of once.
    """
    last = probabilities.ndim - 1
    grad_input = torch.ops.aten._softmax_backward_data(
        grad, probabilities, last, probabilities.dtype
    )
    return cast(Tensor, grad_input)


def gelu_into(out: Tensor, hidden: Tensor) -> Tensor:
    """gelu(hidden), written into `out`, which is returned.

    Public: functional.gelu, which makes a new tensor.
    """
    return cast(Tensor, torch.ops.aten.gelu.out(hidden, out=out))


def gelu_backward_into(out: Tensor, grad: Tensor, hidden: Tensor) -> Tensor:
    """Gradient of gelu's output, and its input -> gradient of its input, written into `out`.

    `out` may be `grad`. Public: autograd through functional.gelu, which computes the output again
    and makes new tensors for both.
    """
    return cast(Tensor, torch.ops.aten.gelu_backward.grad_input(grad, hidden, grad_input=out))


def set_update_skipped(optimizer: torch.optim.AdamW, is_skipped: Tensor) -> None:
    """Let following steps of a fused optimizer change nothing where `is_skipped` [] bool is true.

    The tensor is read on its device, so the host does not wait for it. Public:
    torch.amp.GradScaler.step, which sets the same attribute, but decides by itself: from
    gradients, not from the loss, and anew at each step.
    """
    optimizer.found_inf = is_skipped.float()  # type: ignore[attr-defined]
