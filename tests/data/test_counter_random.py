import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from electra_cli.data.counter_random import Purpose, hash_words, permute, uniform

WORD = 2**64


def mix(word: int) -> int:
    """SplitMix64's finalizer in plain integers."""
    word = (word + 0x9E3779B97F4A7C15) % WORD
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB % WORD
    return word ^ (word >> 31)


def test_the_first_numbers_of_splitmix64_are_the_published_ones():
    # SplitMix64 with seed 1234567 (Vigna's reference implementation, as in many test suites).
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    gamma = 0x9E3779B97F4A7C15
    assert [mix((1234567 + i * gamma) % WORD) for i in range(3)] == published


@given(st.integers(0, WORD - 1), st.integers(0, 2**40), st.integers(0, 2**40))
def test_hash_words_equals_plain_integers(seed, first, second):
    expected = mix(seed)
    for counter in (int(Purpose.SAMPLE), first, second):
        expected = mix(expected ^ counter)
    assert int(hash_words(seed, Purpose.SAMPLE, first, second)[0]) == expected


def test_uniform_fills_the_unit_interval_evenly():
    drawn = uniform(3, Purpose.SAMPLE, np.arange(100_000))
    counts, _ = np.histogram(drawn, bins=100, range=(0, 1))
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert ((counts - 1000) ** 2 / 1000).sum() < 160  # chi-square, 99 degrees: p about 1e-4


def test_purposes_and_seeds_are_independent():
    counters = np.arange(20_000)
    draws = [
        uniform(seed, purpose, counters)
        for seed in (0, 1)
        for purpose in (Purpose.SAMPLE, Purpose.SHOW_MASK)
    ]
    correlation = np.corrcoef(draws) - np.eye(4)
    assert np.abs(correlation).max() < 0.03  # four standard deviations of 1 / sqrt(20,000)


@given(st.integers(1, 3000), st.integers(0, 100), st.integers(0, 5))
def test_the_order_is_a_permutation(size, seed, epoch):
    order = permute(np.arange(size), size, seed, epoch)
    assert sorted(order.tolist()) == list(range(size))


@given(st.integers(2, 3000), st.integers(1, 7))
def test_the_order_is_the_same_for_any_number_of_readers(size, readers):
    whole = permute(np.arange(size), size, 5, 1)
    for rank in range(readers):
        mine = permute(np.arange(rank, size, readers), size, 5, 1)
        assert mine.tolist() == whole[rank::readers].tolist()


def test_orders_of_epochs_and_seeds_differ():
    orders = [permute(np.arange(500), 500, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    for i, first in enumerate(orders):
        for second in orders[:i]:
            assert (first == second).mean() < 0.05


def test_the_order_is_shuffled_well():
    order = permute(np.arange(10_000), 10_000, 0, 0)
    assert abs(np.corrcoef(np.arange(10_000), order)[0, 1]) < 0.04
    # In a random order a place is followed by its successor about once in all.
    assert (np.diff(order) == 1).sum() < 10


@pytest.mark.parametrize("size", [2**20 + 1, 2**33 + 7])
def test_large_orders_need_no_table(size):
    some = permute(np.arange(1000), size, 0, 0)
    assert len(set(some.tolist())) == 1000
    assert some.min() >= 0
    assert some.max() < size


def test_numbers_are_the_recorded_ones():
    """Every run depends on them: another number for a purpose is another order, other masks."""
    recorded = {
        Purpose.ORDER: 1940905156933390847,
        Purpose.SINGLE_SEGMENT: 2323274998953831507,
        Purpose.SHORT_WINDOW: 11012453653248285810,
        Purpose.SHORT_LENGTH: 16283900458415681517,
        Purpose.SEGMENT_CUT: 9026730784994608632,
        Purpose.MASK_POSITION: 9562477468689433227,
        Purpose.SHOW_MASK: 13647350136741021872,
        Purpose.SAMPLE: 2046167843174245110,
        Purpose.DROPOUT: 183858143369104466,
    }
    assert list(recorded) == list(Purpose)
    for purpose, word in recorded.items():
        assert hash_words(7, purpose, 1, np.arange(1)).tolist() == [word], purpose
    assert permute(np.arange(10), 10, 3, 1).tolist() == [1, 0, 8, 5, 6, 9, 4, 2, 3, 7]
    assert permute(np.arange(5), 1000, 3, 1).tolist() == [763, 723, 950, 343, 767]
    # At a power of two, and the least that a network of two halves can permute.
    assert permute(np.arange(5), 1024, 0, 1).tolist() == [638, 419, 935, 628, 250]
    assert permute(np.arange(4), 4, 0, 1).tolist() == [2, 3, 1, 0]
    assert permute(np.arange(3), 3, 0, 1).tolist() == [2, 0, 1]
