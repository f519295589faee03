"""Self-attention over packed sequences of different lengths.

PackedSelfAttention takes the place of transformers' own, so that its layers run on a Batch without
padding: everything but attention itself works token by token.
"""

# Shapes: T tokens of a packed batch, B sequences, L longest of them, A heads, D head size, H = A D.

from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.electra.modeling_electra import ElectraSelfAttention

from electra_cli.batch import Batch
from electra_cli.model.layers.autocast import autocast_dtype
from electra_cli.model.layers.flash_attention import can_run_flash_attention, flash_attention
from electra_cli.model.layers.padded_attention import PaddedLayout, padded_attention

# What makes queries, keys and values.
Parts = tuple[nn.Linear, nn.Linear, nn.Linear]


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


class PackedSelfAttention(ElectraSelfAttention):
    """Transformers' own, but on packs; without a layout it runs padded windows as ever.

    Queries, keys and values come from one product: three of a third of its width took longer, and
    so did adding their three gradients (2.5% of a step of small on a CPU).
    """

    def forward(
        self, hidden_states: Tensor, *args: object, layout: PackedLayout | None = None, **rest: Any
    ) -> tuple[Tensor, Tensor | None]:
        """[1, T, H] and its layout -> ([1, T, H], None), as ElectraAttention wants it."""
        if layout is None:
            plain: tuple[Tensor, Tensor | None] = super().forward(hidden_states, *args, **rest)
            return plain
        mixed = packed_attention(
            hidden_states.squeeze(0),
            (self.query, self.key, self.value),
            layout,
            self.num_attention_heads,
            self.scaling,
            self.dropout.p if self.training else 0.0,
        )
        return mixed.flatten(1)[None], None


def pack_attention(network: nn.Module) -> None:
    """Make every self-attention of `network` a packed one; parameters stay what they are."""
    for module in network.modules():
        if isinstance(module, ElectraSelfAttention):
            module.__class__ = PackedSelfAttention


def packed_attention(
    x: Tensor, parts: Parts, layout: PackedLayout, heads: int, scale: float, dropout: float
) -> Tensor:
    """Tokens [T, H] and what makes their queries, keys and values -> [T, A, D].

    Each sequence sees itself alone. GPUs in half precision have a kernel for that; all else is
    padded in groups.
    """
    size = parts[0].out_features // heads
    if can_run_flash_attention(x.device, autocast_dtype(x), size):
        weight = torch.cat([part.weight for part in parts])
        bias = torch.cat([part.bias for part in parts])
        joined = functional.linear(x, weight, bias).view(len(x), 3, heads, size)
        query, key, value = joined.unbind(1)
        return flash_attention(
            query, key, value, layout.cu_seqlens, layout.max_length, dropout, scale
        )
    mixed: Tensor = _pad_and_attend(x, parts, layout, heads, scale, dropout)
    return mixed


# Groups differ from batch to batch, so compiled graphs would, too; the layers around are compiled.
@torch.compiler.disable  # type: ignore[untyped-decorator]
def _pad_and_attend(
    x: Tensor, parts: Parts, layout: PackedLayout, heads: int, scale: float, dropout: float
) -> Tensor:
    return padded_attention(x, parts, layout.padded, heads, scale, dropout)
