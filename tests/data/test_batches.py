import threading
from itertools import islice, pairwise

import numpy as np
import pytest
import torch
from conftest import TOKEN_ROLES, VOCAB_SIZE, MemoryTokens, random_documents, tiny_config

from electra_cli.batch import Batch
from electra_cli.data.batches import (
    Position,
    WindowReader,
    evaluation_batches,
    iter_batches,
    join_batches,
)
from electra_cli.data.prefetch import Prefetcher

CONFIG = tiny_config()


def make_reader(count: int = 40, longest: int = 120, seed: int = 0) -> WindowReader:
    tokens = MemoryTokens(random_documents(count, longest, VOCAB_SIZE, seed))
    return WindowReader(tokens, TOKEN_ROLES, CONFIG.data, CONFIG.objective.mask_fraction, seed)


def windows_of(batch: Batch) -> list[slice]:
    bounds = batch.cu_seqlens.tolist()
    return [slice(a, b) for a, b in pairwise(bounds)]


def same(first: Batch, second: Batch) -> bool:
    pairs = zip(vars(first).values(), vars(second).values(), strict=True)
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def test_windows_look_as_the_model_expects_them():
    batch = make_reader().read(0, 0, 50)
    kinds = set()
    for window in windows_of(batch):
        ids = batch.input_ids[window].tolist()
        segments = batch.token_type_ids[window].tolist()
        assert len(ids) <= CONFIG.data.max_seq_length
        assert ids[0] == TOKEN_ROLES.cls_id
        assert ids[-1] == TOKEN_ROLES.sep_id
        assert batch.position_ids[window].tolist() == list(range(len(ids)))
        separators = [i for i, token in enumerate(ids) if token == TOKEN_ROLES.sep_id]
        kinds.add(len(separators))
        first_end = separators[0] + 1
        assert segments == [0] * first_end + [1] * (len(ids) - first_end)
        if len(separators) == 2:  # the second segment begins with a word
            assert TOKEN_ROLES.begins_word[ids[first_end]]
    assert kinds == {1, 2}
    assert batch.max_length == max(w.stop - w.start for w in windows_of(batch))


def test_an_epoch_holds_every_document_once_and_in_pieces_of_the_original():
    documents = random_documents(40, 120, VOCAB_SIZE, 0)
    reader = make_reader()
    batch = reader.read(0, 0, reader.num_windows(0))
    contents: dict[int, list[list[int]]] = {}
    for window, document in zip(windows_of(batch), batch.document_ids.tolist(), strict=True):
        content = [t for t in batch.input_ids[window].tolist() if t > 4]
        contents.setdefault(document, []).append(content)
    assert len(contents) == len(documents)
    for index, document in enumerate(documents):
        rest = document.tolist()
        while rest:  # put the windows together again, longest match first
            piece = next(
                p for p in sorted(contents[index], key=len, reverse=True) if rest[: len(p)] == p
            )
            contents[index].remove(piece)
            rest = rest[len(piece) :]
        assert contents[index] == []


def test_special_tokens_are_known_and_never_masked():
    batch = make_reader().read(0, 0, 80)
    assert torch.equal(batch.is_special, batch.input_ids <= 4)
    assert (batch.input_ids[batch.masked_positions] > 4).all()


def test_masked_slots_show_the_mask_or_the_original():
    batch = make_reader(count=400).read(0, 0, 800)
    original = batch.input_ids[batch.masked_positions]
    shown = batch.masked_ids == TOKEN_ROLES.mask_id
    assert (shown | (batch.masked_ids == original)).all()
    deviation = (0.85 * 0.15 / batch.num_masked) ** 0.5
    assert abs(shown.float().mean().item() - 0.85) < 4 * deviation


def test_every_window_has_its_share_of_masks():
    batch = make_reader().read(0, 0, 80)
    for window in windows_of(batch):
        inside = (batch.masked_positions >= window.start) & (batch.masked_positions < window.stop)
        length = window.stop - window.start
        most = int((0.15 + 0.005) * CONFIG.data.max_seq_length)
        expected = max(1, min(most, int(np.rint(np.float32(0.15) * np.float32(length)))))
        assert inside.sum() == expected


def test_every_content_token_is_masked_with_equal_chance_unknown_ones_too():
    documents = random_documents(600, 120, VOCAB_SIZE, 0)
    draw = np.random.default_rng(1)
    for document in documents:  # a fifth of all tokens is [UNK]
        document[draw.random(len(document)) < 0.2] = 1
    reader = WindowReader(MemoryTokens(documents), TOKEN_ROLES, CONFIG.data, 0.15, 0)
    batch = reader.read(0, 0, reader.num_windows(0))
    is_masked = torch.zeros(batch.num_tokens, dtype=torch.bool)
    is_masked[batch.masked_positions] = True
    content = (
        29  # of a full window with two segments, which is masked at int(0.155 * 32) = 4 places
    )
    counts = torch.zeros(content)
    num_windows = 0
    for window in windows_of(batch):
        is_content = ~batch.is_special[window]
        if window.stop - window.start == 32 and is_content.sum() == content:
            counts += is_masked[window][is_content]
            num_windows += 1
    expected = num_windows * 4 / content
    # Chi-square with 28 degrees of freedom; draws without replacement make it smaller still.
    assert num_windows > 500
    assert ((counts - expected) ** 2 / expected).sum() < 60  # p about 4e-4
    is_unknown = batch.input_ids == 1
    rates = [is_masked[kind & ~batch.is_special].float() for kind in (is_unknown, ~is_unknown)]
    deviation = (0.14 * 0.86 / len(rates[0])) ** 0.5
    assert abs(rates[0].mean() - rates[1].mean()) < 4 * deviation


def test_every_epoch_and_every_seed_has_an_order_of_its_own():
    # One window per document and no short ones, so that all epochs have the same windows.
    data = CONFIG.data.model_copy(update={"short_window_fraction": 0.0})
    tokens = MemoryTokens(random_documents(100, 20, VOCAB_SIZE, 0))
    orders = []
    for seed, epoch in [(0, 0), (0, 1), (1, 0)]:
        order = WindowReader(tokens, TOKEN_ROLES, data, 0.15, seed).order(epoch, 0, 100)
        assert sorted(order.tolist()) == list(range(100))
        orders.append(tuple(order.tolist()))
    assert len(set(orders)) == 3


def test_splitting_a_batch_and_reading_it_in_parts_give_the_same_windows():
    reader = make_reader()
    parts = list(reader.read(0, 0, 8).split(3))
    assert [part.num_sequences for part in parts] == [3, 3, 2]
    for part, (first, stop) in zip(parts, [(0, 3), (3, 6), (6, 8)], strict=True):
        assert same(part, reader.read(0, first, stop))


def test_batches_run_through_epochs_without_losing_a_window():
    reader = make_reader()
    sizes = [reader.num_windows(epoch) for epoch in range(3)]
    batches = islice(iter_batches(make_reader(), 8, Position()), sum(sizes) // 8)
    seen = []
    for batch, _position in batches:
        assert batch.num_sequences == 8
        seen.append(batch)
    second = next(iter(reader.read(1, 0, 1).split(1)))
    begin = sizes[0]
    container, offset = seen[begin // 8], begin % 8
    assert same(list(container.split(1))[offset], second)


def test_going_on_from_a_position_gives_the_same_batches():
    whole = list(islice(iter_batches(make_reader(), 8, Position()), 60))
    for done in (1, 7, 30):
        rest = islice(iter_batches(make_reader(), 8, whole[done - 1][1]), 60 - done)
        for (batch, position), (expected, expected_position) in zip(
            rest, whole[done:], strict=True
        ):
            assert position == expected_position
            assert same(batch, expected)


def test_position_counts_epochs():
    reader = make_reader()
    size = reader.num_windows(0)
    _, position = next(iter_batches(reader, size // 2, Position()))
    assert position.epochs == pytest.approx((size // 2) / size)


def test_reading_ahead_changes_nothing():
    plain = list(islice(iter_batches(make_reader(), 8, Position()), 20))
    ahead = Prefetcher(iter_batches(make_reader(), 8, Position()))
    for expected, position in plain:
        batch, after = next(ahead)
        assert same(batch, expected)
        assert after == position
    ahead.close()


def test_an_error_while_reading_ahead_reaches_the_reader():
    def broken():
        yield from islice(iter_batches(make_reader(), 8, Position()), 2)
        raise OSError("the disk is gone")

    ahead = Prefetcher(broken())
    next(ahead)
    next(ahead)
    with pytest.raises(OSError, match="the disk is gone"):
        next(ahead)
    ahead.close()


def test_evaluation_reads_the_same_windows_every_time():
    first = evaluation_batches(make_reader(), 20, 8)
    again = evaluation_batches(make_reader(), 20, 8)
    assert [batch.num_sequences for batch in first] == [8, 8, 4]
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    few = evaluation_batches(make_reader(count=1, longest=5), 20, 8)
    assert sum(batch.num_sequences for batch in few) == 1


def test_a_batch_may_have_more_windows_than_are_permuted_at_once():
    config = tiny_config(data={"max_seq_length": 8}, run={"batch_size": 5_000})
    reader = WindowReader(
        MemoryTokens(random_documents(1_200, 60, VOCAB_SIZE, 0)), TOKEN_ROLES, config.data, 0.15, 0
    )
    assert reader.num_windows(0) > 5_000
    batch, position = next(iter_batches(reader, 5_000, Position()))
    assert batch.num_sequences == 5_000
    assert (position.epoch, position.index) == (0, 5_000)
    assert torch.equal(batch.input_ids, reader.read(0, 0, 5_000).input_ids)


def test_held_out_windows_are_the_first_of_epoch_0():
    config = tiny_config()
    tokens = MemoryTokens(random_documents(40, 120, VOCAB_SIZE, 0))
    reader = WindowReader(tokens, TOKEN_ROLES, config.data, 0.15, 0)
    parts = evaluation_batches(reader, 10, 4)
    assert [part.num_sequences for part in parts] == [4, 4, 2]
    assert torch.equal(join_batches(parts).input_ids, reader.read(0, 0, 10).input_ids)
    everything = evaluation_batches(reader, 10_000, 10_000)
    assert everything[0].num_sequences == reader.num_windows(0)


def test_closing_ends_the_thread_that_reads_ahead():
    config = tiny_config()
    tokens = MemoryTokens(random_documents(40, 120, VOCAB_SIZE, 0))
    reader = WindowReader(tokens, TOKEN_ROLES, config.data, 0.15, 0)
    before = threading.active_count()
    prefetcher = Prefetcher(iter_batches(reader, 4, Position()))
    next(prefetcher)
    assert threading.active_count() == before + 1
    prefetcher.close()
    assert threading.active_count() == before
