import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from electra_cli.config import DataConfig
from electra_cli.data.counter_random import Purpose, uniform
from electra_cli.data.windows import (
    SHORTEST_TAIL,
    WindowTable,
    cut_segments,
    cut_windows,
    is_single_segment,
)

document_lengths = st.lists(st.integers(4, 400), min_size=1, max_size=30)


def data_config(max_seq_length: int, **options: float) -> DataConfig:
    return DataConfig(max_seq_length=max_seq_length, **options)


@given(document_lengths, st.integers(8, 200), st.integers(0, 9), st.integers(0, 3))
def test_every_token_of_every_document_is_in_exactly_one_window(lengths, longest, seed, epoch):
    offsets = np.cumsum([0, *lengths])
    config = data_config(longest)
    starts = cut_windows(offsets, config, seed, epoch)
    # Windows tile the tokens: they begin at 0, end at the end, and each has a token.
    assert starts[0] == 0
    assert starts[-1] == offsets[-1]
    assert (np.diff(starts) > 0).all()
    # No window crosses a document's end: every boundary of documents is one of windows.
    assert np.isin(offsets, starts).all()
    # With its special tokens none is longer than allowed.
    single = is_single_segment(starts[:-1], config, seed, epoch)
    assert (np.diff(starts) + 3 - single <= longest).all()


def slow_starts(offsets: np.ndarray, config: DataConfig, seed: int, epoch: int) -> list[int]:
    """One window after the other."""

    def drawn(purpose: Purpose, position: int) -> float:
        return float(uniform(seed, purpose, epoch, np.array([position]))[0])

    starts = []
    for begin, end in itertools.pairwise(offsets.tolist()):
        position = begin
        while position < end:
            starts.append(position)
            remaining = end - position
            capacity = config.max_seq_length - 3
            if drawn(Purpose.SINGLE_SEGMENT, position) < config.single_segment_fraction:
                capacity += 1
            tail = min(SHORTEST_TAIL, capacity // 2)
            length = capacity
            if drawn(Purpose.SHORT_WINDOW, position) < config.short_window_fraction:
                length = tail + int(drawn(Purpose.SHORT_LENGTH, position) * (capacity - tail))
            if 0 < remaining - length < tail:
                length = remaining if remaining <= capacity else remaining // 2
            position += min(length, remaining)
    return [*starts, offsets[-1]]


@given(
    st.lists(st.integers(4, 400), min_size=1, max_size=60),
    st.integers(8, 200),
    st.floats(0, 1),
    st.sampled_from([1, 1_000, 100_000]),
    st.integers(1, 500),
)
def test_windows_are_those_of_slow_obvious_code(
    lengths, longest, short, min_pass_tokens, walked_tokens
):
    offsets = np.cumsum([3, *lengths])  # as of documents in the middle of a split
    config = data_config(longest, short_window_fraction=short)
    # Both ways to cut, however few the documents.
    starts = cut_windows(offsets, config, 5, 2, min_pass_tokens, walked_tokens)
    assert starts.tolist() == slow_starts(offsets, config, 5, 2)


@given(document_lengths, st.sampled_from([8, 20, 200, 256, 300]), st.integers(1, 2_000))
def test_the_table_holds_the_windows_that_were_cut(lengths, longest, block_tokens):
    offsets = np.cumsum([0, *lengths])
    config = data_config(longest)
    table = WindowTable(offsets, config, 5, 2, block_tokens)
    cut = cut_windows(offsets, config, 5, 2)
    assert len(table) == len(cut) - 1
    chosen = np.random.default_rng(0).permutation(len(table))
    starts, sizes = table.starts_and_lengths(chosen)
    assert starts.tolist() == cut[chosen].tolist()
    assert sizes.tolist() == np.diff(cut)[chosen].tolist()


def test_a_split_without_documents_has_no_windows():
    assert len(WindowTable(np.array([0]), data_config(128), 0, 0)) == 0


@given(document_lengths, st.integers(24, 100), st.integers(0, 9))
def test_no_window_is_a_crumb_unless_its_document_is_one(lengths, longest, seed):
    offsets = np.cumsum([0, *lengths])
    starts = cut_windows(offsets, data_config(longest), seed, 0)
    document = np.searchsorted(offsets, starts[:-1], side="right") - 1
    sizes = np.diff(starts)
    crumbs = sizes < SHORTEST_TAIL
    assert (sizes[crumbs] == np.array(lengths)[document[crumbs]]).all()


def test_windows_of_one_epoch_are_always_the_same_and_those_of_the_next_differ():
    offsets = np.array([0, 50_000])
    first = cut_windows(offsets, data_config(64), 1, 0)
    assert np.array_equal(first, cut_windows(offsets, data_config(64), 1, 0))
    assert len(np.intersect1d(first, cut_windows(offsets, data_config(64), 1, 1))) < 200


def test_a_twentieth_of_the_windows_is_shorter_and_a_tenth_has_one_segment():
    offsets = np.array([0, 2_000_000])
    config = data_config(128)
    starts = cut_windows(offsets, config, 0, 0)
    single = is_single_segment(starts[:-1], config, 0, 0)
    full = np.diff(starts) == 125 + single
    # Binomial, 16,000 windows: four standard deviations are 0.7% and 0.95%.
    assert abs((1 - full).mean() - 0.05) < 0.007
    assert abs(single.mean() - 0.1) < 0.0095


def test_options_turn_short_windows_and_single_segments_off():
    config = data_config(128, short_window_fraction=0, single_segment_fraction=0)
    starts = cut_windows(np.array([0, 12_500]), config, 0, 0)
    assert np.diff(starts).tolist() == [125] * 100


@given(
    st.lists(st.lists(st.booleans(), min_size=1, max_size=30), min_size=1, max_size=10),
    st.floats(0, 1, exclude_max=True),
    st.data(),
)
def test_segments_are_cut_where_a_word_begins(windows, drawn, data):
    single = np.array([data.draw(st.booleans()) for _ in windows])
    lengths = np.array([len(window) for window in windows])
    cut = cut_segments(np.concatenate(windows), lengths, single, np.full(len(windows), drawn))
    for flags, length, alone, place in zip(windows, lengths, single, cut, strict=True):
        if alone or not any(flags[1:]):
            assert place == length
        else:
            assert 0 < place < length
            assert flags[place]


def test_every_word_is_equally_likely_to_begin_the_second_segment():
    flags = np.array([True, False, True, True, False, True])  # candidates 2, 3 and 5
    drawn = (np.arange(3000) + 0.5) / 3000
    cut = cut_segments(np.tile(flags, 3000), np.full(3000, 6), np.zeros(3000, bool), drawn)
    assert np.unique(cut, return_counts=True)[0].tolist() == [2, 3, 5]
    assert np.unique(cut, return_counts=True)[1].tolist() == [1000, 1000, 1000]
