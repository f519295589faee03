"""Attention over packed sequences of different lengths.

One function, registered with transformers under the name PACKED, so that its modules run on a
Batch without padding: everything but attention itself works token by token.
"""

# Shapes: T tokens of a packed batch, B sequences, L longest of them, A heads, D head size.

from functools import cached_property

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from electra_cli.batch import Batch
from electra_cli.model.flash_attention import can_run_flash_attention, flash_attention
from electra_cli.model.padded_attention import PaddedLayout, padded_attention

PACKED = "packed"


class PackedLayout:
    """How a Batch is packed, made once for all layers of a network."""

    def __init__(self, batch: Batch, heads: int) -> None:
        self.cu_seqlens = batch.cu_seqlens  # [B + 1] int32
        self.max_length = batch.max_length  # L
        self._batch = batch
        self._heads = heads

    @cached_property
    def padded(self) -> PaddedLayout:
        """For devices that have no kernel for packed sequences."""
        return PaddedLayout.of(self._batch, self._heads)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    layout: PackedLayout,
    scaling: float,
    dropout: float = 0.0,
    **_: object,
) -> tuple[Tensor, None]:
    """query, key, value [1, A, T, D] -> ([1, T, A, D], None); each sequence sees itself alone.

    GPUs in half precision have a kernel for that; all else is padded in groups.
    """
    # squeeze, since the gradient of [0] would be copied into zeros.
    query, key, value = (tensor.squeeze(0).transpose(0, 1) for tensor in (query, key, value))
    if can_run_flash_attention(query):
        mixed = flash_attention(
            query, key, value, layout.cu_seqlens, layout.max_length, dropout, scaling
        )
    else:
        mixed = _pad_and_attend(query, key, value, layout, scaling, dropout)
    return mixed[None], None


# Groups differ from batch to batch, so compiled graphs would, too; the layers around are compiled.
@torch.compiler.disable  # type: ignore[untyped-decorator]
def _pad_and_attend(
    query: Tensor, key: Tensor, value: Tensor, layout: PackedLayout, scale: float, dropout: float
) -> Tensor:
    return padded_attention(query, key, value, layout.padded, scale, dropout)


AttentionInterface.register(PACKED, packed_attention)
# The layout says which tokens belong together; transformers need not make a mask of its own.
AttentionMaskInterface.register(PACKED, lambda *args, **kwargs: None)
