"""Attention on packed batches against obvious code, one sequence at a time."""

from itertools import pairwise

import pytest
import torch
from conftest import tiny_config, tiny_reader
from torch import Tensor, nn

from benchmarks.batches import Shape, make_batch
from electra_cli.batch import Batch
from electra_cli.data.batches import join_batches
from electra_cli.model.layers.padded_attention import GroupedLayout, padded_attention
from electra_cli.model.layers.sdpa_attention import Padding, sdpa_attention

HEADS, SIZE, SCALE = 2, 32, 0.3


@pytest.fixture
def batch() -> Batch:
    """Sequences of many lengths."""
    return tiny_reader(tiny_config()).read(0, 0, 9)


@pytest.fixture(
    params=[2**19, 2**11, 1], ids=["one group", "a few groups", "one sequence per group"]
)
def layout(request, batch) -> GroupedLayout:
    return GroupedLayout.of(batch, HEADS, group_scores=request.param)


def draw(batch: Batch) -> list[Tensor]:
    """Query, key, value [T, A, D]."""
    draws = torch.Generator().manual_seed(0)
    rows = torch.randn(3, batch.num_tokens, HEADS, SIZE, generator=draws)
    return [each.clone().requires_grad_() for each in rows]


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    part = nn.Linear(weight.shape[1], weight.shape[0])
    part.weight, part.bias = nn.Parameter(weight), nn.Parameter(bias)
    return part


def attend(layout: GroupedLayout, inputs: list[Tensor], dropout: float = 0.0) -> Tensor:
    """Tokens that are query, key and value side by side, and products that pick them out."""
    tokens = torch.cat([each.flatten(1) for each in inputs], dim=1)
    picks = torch.eye(tokens.shape[1]).chunk(3)
    query, key, value = (linear(pick, torch.zeros(len(pick))) for pick in picks)
    return padded_attention(tokens, (query, key, value), layout, HEADS, SCALE, dropout)


def attend_slowly(
    batch: Batch, inputs: list[Tensor], weights: list[Tensor], window: int | None = None
) -> Tensor:
    """One sequence after another; weights [A, n, n] multiply its probabilities."""
    query, key, value = (each.transpose(0, 1) for each in inputs)
    mixed = []
    for (begin, end), weight in zip(pairwise(batch.cu_seqlens.tolist()), weights, strict=True):
        one = slice(begin, end)
        scores = query[:, one] @ key[:, one].transpose(1, 2) * SCALE
        if window is not None:
            places = torch.arange(end - begin)
            is_far = (places[:, None] - places).abs() > window
            scores = scores.masked_fill(is_far, float("-inf"))
        mixed.append((scores.softmax(2) * weight) @ value[:, one])
    return torch.cat(mixed, dim=1).transpose(0, 1)


def assert_same(found: Tensor, expected: Tensor, inputs: list[Tensor]) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    grad = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    wanted = torch.autograd.grad(expected, inputs, grad)
    for ours, theirs in zip(torch.autograd.grad(found, inputs, grad), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_each_sequence_sees_itself_alone(batch, layout):
    inputs = draw(batch)
    ones = [torch.ones(())] * batch.num_sequences
    assert_same(attend(layout, inputs), attend_slowly(batch, inputs, ones), inputs)


def test_queries_keys_and_values_are_products_with_their_weights(batch, layout):
    draws = torch.Generator().manual_seed(2)
    width = HEADS * SIZE
    x = (torch.randn(batch.num_tokens, 24, generator=draws) / 10).requires_grad_()
    parts = tuple(
        linear(torch.randn(width, 24, generator=draws) / 5, torch.randn(width, generator=draws))
        for _ in range(3)
    )
    found = padded_attention(x, parts, layout, HEADS, SCALE, 0.0)
    products = [part(x).view(-1, HEADS, SIZE) for part in parts]
    expected = attend_slowly(batch, products, [torch.ones(())] * batch.num_sequences)
    weights = [weight for part in parts for weight in (part.weight, part.bias)]
    assert_same(found, expected, [x, *weights])


def test_dropout_drops_the_same_probabilities_forward_and_backward(batch, layout):
    query, key, value = draw(batch)
    # Values that name their places show which probabilities were kept, and how they were scaled.
    places = nn.functional.one_hot(batch.position_ids, SIZE).float()[:, None].expand(-1, HEADS, -1)
    torch.manual_seed(5)
    shown = attend(layout, [query, key, places], dropout=0.25).transpose(0, 1)
    weights = [
        (shown[:, begin:end, : end - begin] > 0).float() / 0.75
        for begin, end in pairwise(batch.cu_seqlens.tolist())
    ]
    kept = torch.cat([(weight > 0).flatten() for weight in weights]).float().mean()
    assert kept.item() == pytest.approx(0.75, abs=0.03)
    torch.manual_seed(5)
    inputs = [query, key, value]
    found = attend(layout, inputs, dropout=0.25)
    assert_same(found, attend_slowly(batch, inputs, weights), inputs)


def test_half_precision_is_computed_in_float32(batch, layout):
    inputs = [each.detach().bfloat16() for each in draw(batch)]
    found = attend(layout, inputs)
    assert found.dtype == torch.bfloat16
    exact = attend(layout, [each.float() for each in inputs])
    assert torch.equal(found, exact.bfloat16())


def test_groups_hold_every_sequence_and_pad_little():
    batch = tiny_reader(tiny_config()).read(0, 0, 40)
    layout = GroupedLayout.of(batch, HEADS, group_scores=HEADS * 1024 * 2)
    assert len(layout.groups) > 5
    padded = sum(group.rows.numel() for group in layout.groups)
    assert padded < 1.2 * batch.num_tokens * HEADS
    rows = torch.cat([group.rows.flatten() for group in layout.groups])
    assert torch.equal(rows[layout.inverse], torch.arange(batch.num_tokens * HEADS))
    joined = torch.cat([group.joined_rows.flatten() for group in layout.groups])
    assert torch.equal(joined[layout.joined_inverse], torch.arange(batch.num_tokens * 3 * HEADS))


@pytest.mark.parametrize(
    ("lengths", "sizes"),
    [
        ([100] * 20, [20]),  # nothing is padded
        ([100, 6, 5] * 3, [4, 5]),  # 20,000 scores of padding more than the first short one
        ([30, 20, 10] * 10, [30]),  # fewer in all than another group's calls cost
    ],
)
def test_a_group_ends_where_its_padding_takes_longer_than_another_group(lengths, sizes):
    config = Shape("tiny", len(lengths), max(lengths)).config(dropout=0)
    layout = GroupedLayout.of(make_batch(config, lengths), HEADS)
    assert [group.rows.shape[1] for group in layout.groups] == sizes


def test_a_sequence_with_too_many_scores_is_a_group_of_its_own(batch):
    layout = GroupedLayout.of(batch, HEADS, group_scores=1)
    assert len(layout.groups) == batch.num_sequences


@pytest.mark.parametrize("window", [None, 0, 3])
@pytest.mark.parametrize("has_padding", [True, False])
def test_torchs_own_attention_sees_each_sequence_alone(batch, window, has_padding):
    if not has_padding:
        full = [one for one in batch.split(1) if one.num_tokens == batch.max_length]
        batch = join_batches(full[:3])
    padding = Padding.of(batch)
    assert (padding.is_real is not None) == has_padding
    if window is not None:
        assert padding.mask(window).any(-1).all()  # no query is without a key
    inputs = draw(batch)
    found = sdpa_attention(*inputs, padding, 0.0, SCALE, window)
    ones = [torch.ones(())] * batch.num_sequences
    assert_same(found, attend_slowly(batch, inputs, ones, window), inputs)


def test_torchs_own_attention_drops_what_it_says(batch):
    query, key, value = draw(batch)
    padding = Padding.of(batch)
    torch.manual_seed(0)
    ones = torch.ones_like(value)
    totals = sdpa_attention(query, key, ones, padding, 0.25, SCALE)
    assert totals.mean().item() == pytest.approx(1, abs=0.02)
    assert totals.std().item() > 0.05
