"""Attention over packed sequences of different lengths.

One function, registered with transformers under the name PACKED, so that its modules run on a
Batch without padding: everything but attention itself works token by token.
"""

# Shapes: T tokens of a packed batch, B sequences, L longest of them, A heads, D head size.

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from electra_cli.batch import Batch

PACKED = "packed"


@dataclass(frozen=True)
class PackedLayout:
    """Where each packed token stands in a padded batch, made once for all layers.

    The three indices are None where all sequences are equally long: then both are one view.
    """

    cu_seqlens: Tensor  # [B + 1] int32
    max_length: int  # L
    pad_index: Tensor | None  # [B, L] int64: the packed token at each padded place
    unpad_index: Tensor | None  # [T] int64: the padded place of each packed token
    key_mask: Tensor | None  # [B, 1, 1, L] bool: True at real tokens

    @classmethod
    def of(cls, batch: Batch) -> "PackedLayout":
        """Needs only sizes the host knows, so it never waits for the device."""
        num_sequences, length = batch.num_sequences, batch.max_length
        if batch.num_tokens == num_sequences * length:
            return cls(batch.cu_seqlens, length, None, None, None)
        column = torch.arange(length, device=batch.cu_seqlens.device)
        first = batch.cu_seqlens[:-1, None].long()
        real = column < batch.cu_seqlens.diff()[:, None]
        # cu_seqlens counts the sequences that ended at or before a token: its row.
        token = torch.arange(batch.num_tokens, device=column.device)
        row = torch.searchsorted(batch.cu_seqlens[1:], token, right=True)
        return cls(
            cu_seqlens=batch.cu_seqlens,
            max_length=length,
            pad_index=torch.where(real, first + column, 0),
            unpad_index=row * length + batch.position_ids,
            key_mask=real[:, None, None, :],
        )


def _gather_rows(index: Tensor | None, rows: Tensor) -> Tensor:
    """rows [R, C] at index [...] -> [..., C]; embedding's backward scatters fastest on a CPU."""
    return rows if index is None else functional.embedding(index, rows)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    layout: PackedLayout,
    dropout: float = 0.0,
    scaling: float | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """query, key, value [1, A, T, D] -> ([1, T, A, D], None); each sequence sees itself alone.

    Half-precision GPUs take torch's variable-length flash attention, which knows no dropout; all
    else goes through padded scaled-dot-product attention.
    """
    heads, size = query.shape[1], query.shape[3]
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16) and dropout == 0:
        bounds, longest = layout.cu_seqlens, layout.max_length
        mixed = varlen_attn(
            query[0].transpose(0, 1),
            key[0].transpose(0, 1),
            value[0].transpose(0, 1),
            bounds,
            bounds,
            longest,
            longest,
            scale=scaling,
        )
        assert isinstance(mixed, Tensor)  # a tuple only where auxiliary output is asked for
        return mixed[None], None

    def pad(tensor: Tensor) -> Tensor:
        rows = tensor[0].transpose(0, 1).reshape(-1, heads * size)
        padded = _gather_rows(layout.pad_index, rows)
        return padded.view(-1, layout.max_length, heads, size).transpose(1, 2)

    mixed = functional.scaled_dot_product_attention(
        pad(query), pad(key), pad(value), layout.key_mask, dropout_p=dropout, scale=scaling
    )
    rows = mixed.transpose(1, 2).reshape(-1, heads * size)
    return _gather_rows(layout.unpad_index, rows).view(1, -1, heads, size), None


AttentionInterface.register(PACKED, packed_attention)
# The layout says which tokens belong together; transformers need not make a mask of its own.
AttentionMaskInterface.register(PACKED, lambda *args, **kwargs: None)
