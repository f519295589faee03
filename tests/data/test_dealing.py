"""Batches dealt by length to micro-batches and processes."""

from itertools import islice

import numpy as np
import pytest
import torch
from conftest import tiny_config, tiny_reader
from hypothesis import given
from hypothesis import strategies as st

from electra_cli.batch import Batch, Share
from electra_cli.config import RunConfig
from electra_cli.data import batches
from electra_cli.data.batches import Position, iter_batches, join_batches
from electra_cli.data.dealing import deal, iter_shares
from electra_cli.data.windows import WindowTable

CONFIG = tiny_config()


def shares(num_parts: int, *process: int, position: Position | None = None, count: int = 12):
    stream = iter_shares(tiny_reader(CONFIG), 25, position or Position(), num_parts, *process)
    return [share for share, _ in islice(stream, count)]


def same(first: Batch, second: Batch) -> bool:
    pairs = zip(vars(first).values(), vars(second).values(), strict=True)
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def figures(share: Share[Batch]) -> tuple[int, int, int, list[int]]:
    documents = sorted(share.document_ids.tolist())
    return share.num_tokens, share.num_slots, share.squared_lengths, documents


@given(st.lists(st.integers(1, 128), min_size=1, max_size=60), st.integers(1, 20))
def test_every_window_is_dealt_once_and_by_length_alone(lengths, num_parts):
    parts = deal(np.array(lengths), num_parts)
    assert len(parts) == num_parts
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(lengths)))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert all((np.diff(part) > 0).all() for part in parts)
    totals = [sum(lengths[place] for place in part) for part in parts]
    assert max(totals) - min(totals) <= max(lengths) * 2
    if num_parts == 1:
        assert parts[0].tolist() == list(range(len(lengths)))


def test_eight_processes_have_about_equally_many_tokens():
    drawn = np.random.default_rng(0)
    unevenness = []
    for _ in range(40):
        lengths = np.minimum(drawn.geometric(1 / 90, 128), 128)  # most windows are not full
        totals = [lengths[places].sum() for places in deal(lengths, 8)]
        unevenness.append(max(totals) / np.mean(totals) - 1)
    assert np.mean(unevenness) < 0.015


def test_each_epochs_windows_are_cut_once(monkeypatch):
    """Though the micro-batches of a batch may begin in one epoch and end in the next."""
    cut = []

    def counted(*arguments):
        cut.append(arguments[-1])
        return WindowTable(*arguments)

    monkeypatch.setattr(batches, "WindowTable", counted)
    stream = iter_shares(tiny_reader(CONFIG), 25, Position(), 8)
    position = next(after for _, after in stream if after.epoch == 4)
    assert cut[: position.epoch + 1] == [0, 1, 2, 3, 4]


def test_one_part_is_the_batch_in_its_order():
    plain = islice(iter_batches(tiny_reader(CONFIG), 25, Position()), 12)
    for share, (batch, _) in zip(shares(1), plain, strict=True):
        ((number, part),) = share.parts
        assert number == 0
        assert same(part, batch)
        assert figures(share) == figures(batch.share(25))


@pytest.mark.parametrize(("num_parts", "count"), [(2, 2), (12, 3), (12, 4), (27, 3), (28, 4)])
def test_processes_share_the_micro_batches_of_one_process(num_parts, count):
    """Also where an epoch ends within a batch, and with more micro-batches than windows."""
    alone = shares(num_parts)
    for rank in range(count):
        for share, whole in zip(shares(num_parts, rank, count), alone, strict=True):
            own = [(number, part) for number, part in whole.parts if number % count == rank]
            assert own
            assert [number for number, _ in share.parts] == [number for number, _ in own]
            assert all(same(a, b) for (_, a), (_, b) in zip(share.parts, own, strict=True))
            assert figures(share) == figures(whole)


def test_the_micro_batches_together_are_the_batch():
    plain = islice(iter_batches(tiny_reader(CONFIG), 25, Position()), 12)
    for share, (batch, _) in zip(shares(4), plain, strict=True):
        joined = join_batches([part for _, part in share.parts])
        assert figures(share) == figures(batch.share(1))
        assert sorted(joined.input_ids.tolist()) == sorted(batch.input_ids.tolist())


def test_the_number_of_micro_batches_is_the_same_for_processes_that_divide_it():
    run = RunConfig(batch_size=24, micro_batch_size=2)
    assert {run.num_parts(count) for count in (1, 2, 3, 4, 6, 12)} == {12}
    assert run.num_parts(5) == 15
    assert RunConfig(batch_size=24).num_parts() == 1
    assert RunConfig(batch_size=24).num_parts(5) == 5
    for count in range(1, 25):
        per_part = 24 / run.num_parts(count)
        assert run.num_parts(count) % count == 0
        assert per_part <= 2
