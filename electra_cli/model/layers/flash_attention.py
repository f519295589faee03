"""Attention over packed sequences in one GPU kernel, dropout included.

The kernel is FlashAttention-2, which torch brings along. torch.nn.attention.varlen runs it, too,
but sets its dropout to 0; the operator underneath takes it, and torch's own attention for nested
tensors calls that in the same way (torch/nested/_internal/sdpa.py).
"""

# Shapes: T tokens of a packed batch, B sequences, A heads, D head size.

import torch
from torch import Tensor

_LARGEST_HEAD = 256
_FIRST_CAPABILITY = (8, 0)  # Ampere


def can_run_flash_attention(device: torch.device, dtype: torch.dtype, head_size: int) -> bool:
    """Whether the kernel takes tensors [..., head_size]: what it checks for itself, and raises.

    See torch's aten/src/ATen/native/transformers/cuda/flash_attn/flash_api.cpp, mha_varlen_fwd.
    """
    return (
        device.type == "cuda"
        and dtype in (torch.bfloat16, torch.float16)
        and head_size % 8 == 0
        and head_size <= _LARGEST_HEAD
        and _capability(device) >= _FIRST_CAPABILITY
    )


# torch.compile would break its graph at the question to the driver.
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
) -> Tensor:
    """query, key, value [T, A, D], cu_seqlens [B + 1] int32 -> [T, A, D]; nothing is padded.

    `dropout` is the probability that an attention weight is dropped, 0 in evaluation; `scale` is
    that of the scores, by default 1 / sqrt(D). Differentiable: the forward pass keeps T logsumexps
    a head, and seed and offset of the device's generator, from which the backward pass draws the
    same dropout mask again. That generator advances as for any dropout, so a recomputation under
    torch.utils.checkpoint, which sets it back, drops the same weights.
    """
    mixed: Tensor = torch.ops.aten._flash_attention_forward(
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
    )[0]
    return mixed
