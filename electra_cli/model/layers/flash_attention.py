"""Attention over packed sequences in one GPU kernel, FlashAttention-2, dropout included."""

# Shapes: T tokens of a packed batch, B sequences, A heads, D head size.

import torch
from torch import Tensor

from electra_cli.model.torch_private import flash_attention_forward

_LARGEST_HEAD = 256
_FIRST_CAPABILITY = (8, 0)  # Ampere


def can_run_flash_attention(device: torch.device, dtype: torch.dtype, head_size: int) -> bool:
    """Whether the kernel takes tensors [..., head_size] of this dtype on this device.

    These are the kernel's own checks (torch, aten/src/ATen/native/transformers/cuda/flash_attn/
    flash_api.cpp, mha_varlen_fwd), which raise where one fails.
    """
    return (
        device.type == "cuda"
        and dtype in (torch.bfloat16, torch.float16)
        and head_size % 8 == 0
        and head_size <= _LARGEST_HEAD
        and _capability(device) >= _FIRST_CAPABILITY
    )


# Without this, torch.compile would break its graph at the call of the driver.
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


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
    """
    return flash_attention_forward(
        query, key, value, cu_seqlens, max_length, dropout, scale, window
    )
