import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from electra_cli.data.masking import choose_masked, count_masked, sample_noise, shows_mask


@pytest.mark.parametrize(
    ("length", "mask_fraction", "max_seq_length", "count"),
    [
        (128, 0.15, 128, 19),  # 19.2
        (512, 0.15, 512, 77),  # 76.8
        (512, 0.25, 512, 128),
        (10, 0.15, 128, 2),  # 1.5 to the even 2
        (30, 0.15, 128, 4),  # 4.5 to the even 4
        (3, 0.15, 128, 1),  # at least one
        (128, 0.15, 100, 15),  # at most int(0.155 * 100)
        (20, 0.04, 20, 1),  # int(0.045 * 20) is 0, and one is masked all the same
        # float32(0.15) is a little above 0.15: the product of these is no tie there.
        (190, 0.15, 512, 29),
        (350, 0.15, 512, 53),
        (390, 0.15, 512, 59),
    ],
)
def test_the_number_of_masked_tokens_is_the_authors(length, mask_fraction, max_seq_length, count):
    assert count_masked(np.array([length]), mask_fraction, max_seq_length).tolist() == [count]


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 60)), min_size=1, max_size=20))
def test_the_chosen_number_is_masked_in_each_window(windows):
    lengths = np.array([length for length, _ in windows])
    counts = np.minimum(lengths, [count for _, count in windows])
    starts = np.cumsum(lengths) - lengths
    chosen = choose_masked(starts, lengths, counts, seed=0, epoch=0)
    assert (np.diff(chosen) > 0).all()  # ascending, none twice
    window = np.searchsorted(np.cumsum(lengths), chosen, side="right")
    assert np.bincount(window, minlength=len(windows)).tolist() == counts.tolist()


def test_every_position_is_equally_likely():
    num_windows, length, count = 20_000, 20, 3
    lengths = np.full(num_windows, length)
    starts = np.arange(num_windows) * length
    chosen = choose_masked(starts, lengths, np.full(num_windows, count), seed=1, epoch=0)
    observed = np.bincount(chosen % length, minlength=length)
    expected = num_windows * count / length
    # Chi-square with 19 degrees of freedom; draws without replacement make it smaller still.
    assert ((observed - expected) ** 2 / expected).sum() < 50  # p about 1e-4


def test_a_window_is_masked_alike_wherever_it_stands():
    lengths, counts = np.array([30, 40, 20]), np.array([4, 6, 3])
    starts = np.array([100, 700, 2000])
    together = choose_masked(starts, lengths, counts, 0, 3)
    alone = choose_masked(starts[1:2], lengths[1:2], counts[1:2], 0, 3)
    assert together[4:10].tolist() == (alone + 30).tolist()


def test_85_percent_of_the_chosen_show_the_mask():
    starts = np.arange(50_000)
    shown = shows_mask(starts, np.zeros_like(starts), seed=0, epoch=0).mean()
    assert abs(shown - 0.85) < 4 * np.sqrt(0.85 * 0.15 / 50_000)


def test_noise_is_below_one_in_float32():
    starts = np.arange(200_000)
    noise = sample_noise(starts, starts, seed=0, epoch=0)
    assert noise.dtype == np.float32
    assert noise.min() >= 0
    assert noise.max() < 1
    assert abs(noise.mean() - 0.5) < 4 / np.sqrt(12 * 200_000)


def test_epochs_mask_differently():
    lengths, counts = np.full(50, 40), np.full(50, 6)
    starts = np.arange(50) * 40
    first = choose_masked(starts, lengths, counts, 0, 0)
    second = choose_masked(starts, lengths, counts, 0, 1)
    # By chance 15% of the positions agree.
    assert np.isin(first, second).mean() < 0.3
