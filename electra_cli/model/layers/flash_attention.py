"""Where FlashAttention-2 can run: attention over packed sequences in one GPU kernel."""

from functools import cache

import torch

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
        and _is_new_enough(device)
    )


# Without the mark, torch.compile would break its graph at the call of the driver. It answers with a
# bool: torch 2.11 cannot trace the comparison of two tuples that come from such a function.
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _is_new_enough(device: torch.device) -> bool:
    return _capability(device) >= _FIRST_CAPABILITY


@cache  # every layer of every step wants to know
def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)
