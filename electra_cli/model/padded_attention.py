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

# Scores of a group: 2 MB. Half of it took 4% longer for a step of small with full windows, twice
# and four times as much 2%; with smaller groups less is padded, but products are shorter.
_GROUP_SCORES = 2**19


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
        mixed, outs = _empty_rows(query, layout)
        saved = []
        for group, out in zip(layout.groups, outs, strict=True):
            q, k, v = (_gather(x, group) for x in (query, key, value))
            if group.is_real is None:
                scores = _multiply(q, k.transpose(1, 2), scale)
            else:
                bias = group.is_real.log().repeat_interleave(query.shape[1], 0)
                scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=scale)
            probabilities = scores.softmax(2)
            kept, keep, ctx.kept_scale = probabilities, None, 1.0
            if dropout > 0:
                keep, ctx.kept_scale = keep_mask(probabilities, dropout)
                kept = probabilities * keep
            _multiply(kept, v, ctx.kept_scale, out)
            saved += [q, k, v, probabilities, keep]
        ctx.save_for_backward(*saved)
        ctx.layout, ctx.scale = layout, scale
        return _to_tokens(mixed, layout, query)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        layout = ctx.layout
        totals, outs = zip(*(_empty_rows(grad, layout) for _ in range(3)), strict=True)
        saved = iter(ctx.saved_tensors)
        for group, grad_q, grad_k, grad_v in zip(layout.groups, *outs, strict=True):
            q, k, v, probabilities, keep = (next(saved) for _ in range(5))
            g = _gather(grad, group)
            if group.is_real is not None:
                g.view(*group.rows.shape, -1).mul_(group.is_real[..., None])
            kept = probabilities if keep is None else probabilities * keep
            _multiply(kept.transpose(1, 2), g, ctx.kept_scale, grad_v)
            grad_kept = _multiply(g, v.transpose(1, 2), ctx.kept_scale)
            if keep is not None:
                grad_kept *= keep
            grad_scores = torch.ops.aten._softmax_backward_data(
                grad_kept, probabilities, 2, torch.float32
            )
            _multiply(grad_scores, k, ctx.scale, grad_q)
            _multiply(grad_scores.transpose(1, 2), q, ctx.scale, grad_k)
        return (*(_to_tokens(total, layout, grad) for total in totals), None, None, None)


def _multiply(left: Tensor, right: Tensor, scale: float, out: Tensor | None = None) -> Tensor:
    """scale * left @ right, matrix by matrix; the scale costs nothing."""
    unread = left.new_empty(1, 1, 1) if out is None else out
    return torch.baddbmm(unread, left, right, beta=0, alpha=scale, out=out)


def _gather(x: Tensor, group: _Group) -> Tensor:
    """x [T, A, D] -> the group's [b * A, l, D]."""
    _, _, length = group.rows.shape
    return functional.embedding(group.rows, x.reshape(-1, x.shape[2])).view(-1, length, x.shape[2])


def _empty_rows(like: Tensor, layout: PaddedLayout) -> tuple[Tensor, list[Tensor]]:
    """(the rows [places, D] of all groups, views [b * A, l, D] of each group's); like [T, A, D]."""
    size = like.shape[2]
    counts = [group.rows.numel() for group in layout.groups]
    rows = like.new_empty(sum(counts), size)
    parts = torch.split(rows, counts)
    views = [
        part.view(-1, group.rows.shape[2], size)
        for part, group in zip(parts, layout.groups, strict=True)
    ]
    return rows, views


def _to_tokens(rows: Tensor, layout: PaddedLayout, like: Tensor) -> Tensor:
    """Rows [places, D] of all groups -> [T, A, D]."""
    return functional.embedding(layout.inverse, rows).view(like.shape)
