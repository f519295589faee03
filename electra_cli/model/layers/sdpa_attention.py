"""Attention over packed sequences, all padded to the longest, by torch's own operation.

For devices and precisions that have no kernel for packed sequences: torch chooses the best of its
kernels for padded ones.
"""

# Shapes: T tokens of a packed batch, B sequences, L longest of them, A heads, D head size.

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from electra_cli.batch import PackedTokens


@dataclass(frozen=True)
class Padding:
    """Where the tokens of a packed batch stand when every sequence has L places."""

    places: Tensor  # [T] int64: the place of each token among all B * L
    is_real: Tensor | None  # [B, L] bool: False at padding; None where nothing is padded
    num_sequences: int  # B
    max_length: int  # L

    @classmethod
    def of(cls, batch: PackedTokens) -> "Padding":
        """From sizes that the host knows, so that it does not wait for a device."""
        num_sequences, max_length = batch.num_sequences, batch.max_length
        cu_seqlens = batch.cu_seqlens.long()
        tokens = torch.arange(batch.num_tokens, device=cu_seqlens.device)
        sequence = torch.bucketize(tokens, cu_seqlens[1:], right=True)
        places = tokens - cu_seqlens[sequence] + sequence * max_length
        is_real = None
        if batch.num_tokens < num_sequences * max_length:
            column = torch.arange(max_length, device=cu_seqlens.device)
            is_real = column < cu_seqlens.diff()[:, None]
        return cls(places, is_real, num_sequences, max_length)

    def add_to(self, x: Tensor) -> Tensor:
        """[T, A, D] -> [B, A, L, D], 0 at padding."""
        if self.is_real is not None:
            padded = x.new_zeros(self.num_sequences * self.max_length, *x.shape[1:])
            x = padded.index_copy(0, self.places, x)
        return x.view(self.num_sequences, self.max_length, *x.shape[1:]).transpose(1, 2)

    def remove_from(self, x: Tensor) -> Tensor:
        """[B, A, L, D] -> [T, A, D]."""
        rows = x.transpose(1, 2).flatten(0, 1)
        return rows if self.is_real is None else rows.index_select(0, self.places)

    def mask(self, window: int | None) -> Tensor | None:
        """Which keys each query sees, bool, broadcast to [B, A, L, L]; None: all of them."""
        keys = None if self.is_real is None else self.is_real[:, None, None]
        if window is None:
            return keys
        column = torch.arange(self.max_length, device=self.places.device)
        distance = (column[:, None] - column).abs()
        is_near = distance <= window
        # Padding sees itself, because kernels differ in what they do with a query without keys.
        return is_near if keys is None else is_near & (keys | (distance == 0))


def sdpa_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    padding: Padding,
    dropout: float,
    scale: float | None = None,
    window: int | None = None,
) -> Tensor:
    """query [T, A, D], key, value [T, heads that divide A, D] -> [T, A, D].

    The other arguments are those of flash_attention.
    """
    mixed = functional.scaled_dot_product_attention(
        padding.add_to(query),
        padding.add_to(key),
        padding.add_to(value),
        attn_mask=padding.mask(window),
        dropout_p=dropout,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return padding.remove_from(mixed)
