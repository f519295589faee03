"""Attention over packed sequences on a CPU, padded in groups of similar length.

Sequences are padded to the longest of their group, so little is padded, and a group is so small
that its scores stay in the CPU's cache. Attention is float32, whatever the precision of the
products around it.
"""

# Shapes: T tokens of a packed batch, A heads, D head size, b sequences of a group, l the longest.
# A row is the query, key or value of one token and one head, [D]; places are rows in padded groups.

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from electra_cli.batch import PackedTokens
from electra_cli.model.layers.autocast import autocast_dtype
from electra_cli.model.layers.dropout import keep_mask
from electra_cli.model.layers.scratch import scratch_buffer
from electra_cli.model.torch_private import softmax_backward

# The layers whose outputs are queries, keys and values.
Parts = tuple[nn.Linear, nn.Linear, nn.Linear]

# Scores of a group: 2 MB. A step of `small` with full windows took 4% longer with half as many, 2%
# longer with two or four times as many. With smaller groups less is padded, but the matrix products
# are smaller.
GROUP_SCORES = 2**19
# Scores of a group that are padding, at most: beyond it another group takes less time. A step of
# fine-tuning `small` on 32 questions of TREC took 0.97 of the time without this rule, with twice as
# many 0.96, with half as many 0.97 to 0.99, with a quarter 1.02 to 1.04.
_GROUP_PADDING = 2**15


@dataclass(frozen=True)
class _Group:
    # Which row stands at each place; at padding it is any other row.
    joined_rows: Tensor  # [3, b, A, l] int64, among [T * 3 * A] queries, keys and values
    rows: Tensor  # [1, b, A, l] int64, among [T * A] outputs
    is_real: Tensor | None  # [b, 1, l] float32: 1 at tokens, 0 at padding; None without padding


@dataclass(frozen=True)
class GroupedLayout:
    """Which rows stand in which group, and where."""

    groups: tuple[_Group, ...]
    # The place of each row, counted through all groups.
    joined_inverse: Tensor  # [T * 3 * A] int64
    inverse: Tensor  # [T * A] int64

    @classmethod
    def of(
        cls, batch: PackedTokens, heads: int, group_scores: int = GROUP_SCORES
    ) -> "GroupedLayout":
        """Groups of sequences of similar length.

        Each has at most group_scores scores [b, A, l, l], or is one sequence; few are padding.
        """
        lengths = batch.cu_seqlens.diff()
        order = torch.argsort(lengths, descending=True, stable=True)
        tokens: list[Tensor] = []
        is_real: list[Tensor | None] = []
        first = 0
        for count, longest, is_even in _group_sizes(lengths[order].tolist(), heads, group_scores):
            members = order[first : first + count]
            first += count
            column = torch.arange(longest)
            places = batch.cu_seqlens[members, None].long() + column
            if is_even:
                is_real.append(None)
            else:
                real = column < lengths[members, None]
                is_real.append(real.float()[:, None])
                places = places.where(real, batch.num_tokens)  # as if padding were one more token
            tokens.append(places)
        joined_rows, joined_inverse = _rows(tokens, batch.num_tokens, 3, heads)
        rows, inverse = _rows(tokens, batch.num_tokens, 1, heads)
        groups = map(_Group, joined_rows, rows, is_real)
        return cls(tuple(groups), joined_inverse, inverse)


def _rows(
    tokens: list[Tensor], num_tokens: int, parts: int, heads: int
) -> tuple[list[Tensor], Tensor]:
    """Tokens [b, l] of groups -> (rows [parts, b, A, l] of each, inverse [T * parts * A])."""
    width = parts * heads
    head = torch.arange(width).view(parts, 1, heads, 1)
    rows = [group[:, None] * width + head for group in tokens]
    written = torch.cat([group.flatten() for group in rows])
    inverse = written.new_empty((num_tokens + 1) * width)
    inverse[written] = torch.arange(len(written))
    return [group.clamp(max=num_tokens * width - 1) for group in rows], inverse[:-width]


def _group_sizes(lengths: list[int], heads: int, group_scores: int) -> list[tuple[int, int, bool]]:
    """Descending lengths -> (sequences, the longest, whether all are as long) of each group."""
    sizes = []
    first = 0
    while first < len(lengths):
        longest = lengths[first]
        last = min(len(lengths), first + group_scores // (heads * longest**2))
        stop, padding = first + 1, 0
        while stop < last:
            padding += heads * (longest**2 - lengths[stop] ** 2)
            if padding > _GROUP_PADDING:
                break
            stop += 1
        sizes.append((stop - first, longest, lengths[stop - 1] == longest))
        first = stop
    return sizes


def padded_attention(
    x: Tensor,
    parts: Parts,
    layout: GroupedLayout,
    heads: int,
    scale: float,
    dropout: float,
) -> Tensor:
    """Tokens x [T, H], and the layers for their queries, keys and values -> [T, A, D].

    Each sequence sees itself alone.
    """
    dtype = autocast_dtype(x)
    weights = [part.weight.to(dtype) for part in parts]
    biases = [part.bias.to(dtype) for part in parts]
    with torch.autocast(x.device.type, enabled=False):
        mixed: Tensor = _PaddedAttention.apply(  # type: ignore[no-untyped-call]
            layout, heads, scale, dropout, x.to(dtype), *weights, *biases
        )
    return mixed


class _PaddedAttention(torch.autograd.Function):
    """One matrix product makes queries, keys and values; they are kept in the order of groups."""

    @staticmethod
    def forward(
        ctx: Any,
        layout: GroupedLayout,
        heads: int,
        scale: float,
        dropout: float,
        x: Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        weight, bias = torch.cat(parameters[:3]), torch.cat(parameters[3:])
        joined = scratch_buffer("attention_joined", (len(x), len(weight)), x)
        torch.addmm(bias, x, weight.t(), out=joined)
        rows = joined.float().view(len(x) * 3 * heads, -1)
        mixed, outs = _empty_rows("attention_mixed", rows, [group.rows for group in layout.groups])
        saved = []
        for group, (out,) in zip(layout.groups, outs, strict=True):
            q, k, v = _gather(rows, group.joined_rows)
            if group.is_real is None:
                scores = _multiply(q, k.transpose(1, 2), scale)
            else:
                padding = group.is_real.log().repeat_interleave(heads, 0)
                scores = torch.baddbmm(padding, q, k.transpose(1, 2), alpha=scale)
            probabilities = scores.softmax(2)
            kept, keep, ctx.kept_scale = probabilities, None, 1.0
            if dropout > 0:
                keep, ctx.kept_scale = keep_mask(probabilities, dropout)
                kept = probabilities * keep
            _multiply(kept, v, ctx.kept_scale, out)
            saved += [q, k, v, probabilities, keep]
        ctx.save_for_backward(x, *parameters[:3], *saved)
        ctx.layout, ctx.scale = layout, scale
        return functional.embedding(layout.inverse, mixed).view(len(x), heads, -1).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        layout = ctx.layout
        # Under checkpointing, saved tensors can be read only once.
        x, *kept_tensors = ctx.saved_tensors
        weights, saved = kept_tensors[:3], iter(kept_tensors[3:])
        size = grad.shape[2]
        rows = grad.float().reshape(-1, size)
        total, outs = _empty_rows(
            "attention_gradient", rows, [group.joined_rows for group in layout.groups]
        )
        for group, (grad_q, grad_k, grad_v) in zip(layout.groups, outs, strict=True):
            q, k, v, probabilities, keep = (next(saved) for _ in range(5))
            (g,) = _gather(rows, group.rows)
            if group.is_real is not None:
                g.view(*group.rows.shape[1:], size).mul_(group.is_real[..., None])
            kept = probabilities if keep is None else probabilities * keep
            _multiply(kept.transpose(1, 2), g, ctx.kept_scale, grad_v)
            grad_kept = _multiply(g, v.transpose(1, 2), ctx.kept_scale)
            if keep is not None:
                grad_kept *= keep
            grad_scores = softmax_backward(grad_kept, probabilities)
            _multiply(grad_scores, k, ctx.scale, grad_q)
            _multiply(grad_scores.transpose(1, 2), q, ctx.scale, grad_k)
        grad_rows = scratch_buffer("attention_joined", (len(layout.joined_inverse), size), total)
        torch.index_select(total, 0, layout.joined_inverse, out=grad_rows)
        grad_joined = grad_rows.view(len(x), -1).to(x.dtype)
        grad_weight, grad_bias = grad_joined.t() @ x, grad_joined.sum(0)
        return (
            *(None, None, None, None),
            grad_joined @ torch.cat(weights),
            *grad_weight.chunk(3),
            *grad_bias.chunk(3),
        )


def _multiply(left: Tensor, right: Tensor, scale: float, out: Tensor | None = None) -> Tensor:
    """scale * left @ right, matrix by matrix; the product itself applies the scale."""
    unread = left.new_empty(1, 1, 1) if out is None else out
    return torch.baddbmm(unread, left, right, beta=0, alpha=scale, out=out)


def _gather(x: Tensor, rows: Tensor) -> tuple[Tensor, ...]:
    """x [n, D], rows [parts, b, A, l] of it -> [b * A, l, D] of each part."""
    return _parts(functional.embedding(rows, x), rows)


def _empty_rows(
    name: str, like: Tensor, groups: list[Tensor]
) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
    """Rows [parts, b, A, l] of each group -> (places [all of them, D], views of them).

    One view [b * A, l, D] per part of each group; like [..., D]. The places lie in the scratch
    buffer of that name.
    """
    counts = [rows.numel() for rows in groups]
    places = scratch_buffer(name, (sum(counts), like.shape[-1]), like)
    split = torch.split(places, counts)
    return places, [_parts(part, rows) for part, rows in zip(split, groups, strict=True)]


def _parts(x: Tensor, rows: Tensor) -> tuple[Tensor, ...]:
    """x of rows [parts, b, A, l] -> [b * A, l, D] of each part."""
    parts, _, _, length = rows.shape
    return x.view(parts, -1, length, x.shape[-1]).unbind(0)
