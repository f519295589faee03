"""Attention of packed sequences in padded groups, where no kernel works on packs.

Sequences of similar length are padded to the longest of their group, so little is padded, and a
group is small enough for its scores to stay in a CPU's cache. The products and the softmax are
torch's own; everything is float32, whatever the precision of the rest.
"""

# Shapes: T tokens of a pack, A heads, D head size, b sequences of a group, l the longest of them.

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from electra_cli.batch import Batch
from electra_cli.model.dropout import keep_mask

# Scores of a group: 1 MB, a core's L2 cache. Halves and doubles of it were slower.
_GROUP_SCORES = 2**18


@dataclass(frozen=True)
class _Group:
    rows: Tensor  # [b, A, l] int64: each place's row among [T * A]; some other row at padding
    is_real: Tensor | None  # [b, 1, l] float32: 1 at tokens, 0 at padding; None without padding


@dataclass(frozen=True)
class PaddedLayout:
    """Where the heads of each token stand in padded groups."""

    groups: tuple[_Group, ...]
    inverse: Tensor  # [T * A] int64: the place of each row in the groups' places, one after another

    @classmethod
    def of(cls, batch: Batch, heads: int) -> "PaddedLayout":
        """A CPU sorts by length; other devices make one group, from sizes that the host knows."""
        device = batch.cu_seqlens.device
        lengths = batch.cu_seqlens.diff()
        order = torch.argsort(lengths, descending=True, stable=True)
        if device.type == "cpu":
            sizes = _group_sizes(lengths[order].tolist(), heads)
        else:
            is_even = batch.num_tokens == batch.num_sequences * batch.max_length
            sizes = [(batch.num_sequences, batch.max_length, is_even)]
        head = torch.arange(heads, device=device)[:, None]
        groups, written = [], []
        first = 0
        for count, longest, is_even in sizes:
            members = order[first : first + count]
            first += count
            column = torch.arange(longest, device=device)
            tokens = batch.cu_seqlens[members, None].long() + column
            if is_even:
                is_real = None
            else:
                real = column < lengths[members, None]
                is_real = real.float()[:, None]
                tokens = torch.where(real, tokens, batch.num_tokens)
            rows = tokens[:, None] * heads + head
            written.append(rows.flatten())
            groups.append(_Group(rows.clamp(max=batch.num_tokens * heads - 1), is_real))
        places = torch.cat(written)
        # Padding is written to the rows of one more token, which are cut off.
        inverse = places.new_empty((batch.num_tokens + 1) * heads)
        inverse[places] = torch.arange(len(places), device=device)
        return cls(tuple(groups), inverse[:-heads])


def _group_sizes(lengths: list[int], heads: int) -> list[tuple[int, int, bool]]:
    """Descending lengths -> (sequences, the longest, whether all are as long) of each group."""
    sizes = []
    first = 0
    while first < len(lengths):
        longest = lengths[first]
        room = max(1, _GROUP_SCORES // (heads * longest**2))
        stop = min(len(lengths), first + room)
        sizes.append((stop - first, longest, lengths[stop - 1] == longest))
        first = stop
    return sizes


def padded_attention(
    query: Tensor, key: Tensor, value: Tensor, layout: PaddedLayout, scale: float, dropout: float
) -> Tensor:
    """query, key, value [T, A, D] -> [T, A, D]; each sequence sees itself alone."""
    with torch.autocast(query.device.type, enabled=False):
        mixed: Tensor = _PaddedAttention.apply(  # type: ignore[no-untyped-call]
            query.float(), key.float(), value.float(), layout, scale, dropout
        )
    return mixed.to(query.dtype)


class _PaddedAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        layout: PaddedLayout,
        scale: float,
        dropout: float,
    ) -> Tensor:
        mixed, saved = [], []
        for group in layout.groups:
            # Both scales go with the small matrices: of queries, and of values for dropout.
            q, k, v = (_gather(x, group) for x in (query, key, value))
            q *= scale
            if group.is_real is None:
                scores = torch.bmm(q, k.transpose(1, 2))
            else:
                bias = group.is_real.log().repeat_interleave(query.shape[1], 0)
                scores = torch.baddbmm(bias, q, k.transpose(1, 2))
            probabilities = scores.softmax(2)
            kept, keep, ctx.value_scale = probabilities, None, 1.0
            if dropout > 0:
                keep, ctx.value_scale = keep_mask(probabilities, dropout)
                kept = probabilities * keep
                v *= ctx.value_scale
            mixed.append(torch.bmm(kept, v).flatten(0, 1))
            saved += [q, k, v, probabilities, keep]
        ctx.save_for_backward(*saved)
        ctx.layout, ctx.scale = layout, scale
        return _scatter(mixed, layout, query.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_query, grad_key, grad_value = [], [], []
        saved = iter(ctx.saved_tensors)
        for group in ctx.layout.groups:
            q, k, v, probabilities, keep = (next(saved) for _ in range(5))
            g = _gather(grad, group)
            if group.is_real is not None:
                g.view(*group.rows.shape, -1).mul_(group.is_real[..., None])
            kept = probabilities if keep is None else probabilities * keep
            grad_value.append(
                torch.bmm(kept.transpose(1, 2), g).mul_(ctx.value_scale).flatten(0, 1)
            )
            grad_p = torch.bmm(g, v.transpose(1, 2))
            if keep is not None:
                grad_p *= keep
            grad_scores = torch.ops.aten._softmax_backward_data(
                grad_p, probabilities, 2, torch.float32
            )
            grad_query.append(torch.bmm(grad_scores, k).mul_(ctx.scale).flatten(0, 1))
            grad_key.append(torch.bmm(grad_scores.transpose(1, 2), q).flatten(0, 1))
        grads = (_scatter(x, ctx.layout, grad.shape) for x in (grad_query, grad_key, grad_value))
        return (*grads, None, None, None)


def _gather(x: Tensor, group: _Group) -> Tensor:
    """x [T, A, D] -> the group's [b * A, l, D]."""
    _, _, length = group.rows.shape
    return functional.embedding(group.rows, x.reshape(-1, x.shape[2])).view(-1, length, x.shape[2])


def _scatter(parts: list[Tensor], layout: PaddedLayout, shape: torch.Size) -> Tensor:
    """Rows [b * A * l, D] of every group -> [T, A, D]."""
    rows = parts[0] if len(parts) == 1 else torch.cat(parts)
    return functional.embedding(layout.inverse, rows).view(shape)
