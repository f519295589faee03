"""Which tokens are masked, and the noise for sampling replacements.

Pure functions of (seed, epoch, window): the same on any process and with any micro-batch.
"""

# Shapes: B windows of a batch, C tokens of their contents, N masked slots.

import numpy as np
from numpy.typing import NDArray

from electra_cli.data.counter_random import Purpose, hash_words, uniform

# 85% of the chosen tokens become [MASK], the others stay (pretrain_helpers.py:201).
SHOW_MASK_FRACTION = 0.85


def count_masked(
    lengths: NDArray[np.int64], mask_fraction: float, max_seq_length: int
) -> NDArray[np.int64]:
    """Window lengths [B], special tokens included -> how many tokens are masked [B].

    max(1, min(N, round(mask_fraction * length))) with N = int((mask_fraction + 0.005) *
    max_seq_length) (pretrain_helpers.py:173, configure_pretraining.py:110). The product is taken
    in float32 and rounded half to even, as TensorFlow does; in double precision lengths 190, 350
    and 390 would differ.
    """
    most = int((mask_fraction + 0.005) * max_seq_length)
    rounded = np.rint(np.float32(mask_fraction) * lengths.astype(np.float32))
    # Not clip: N is 0 for a small share of short windows.
    counts: NDArray[np.int64] = np.maximum(1, np.minimum(rounded, most)).astype(np.int64)
    return counts


def choose_masked(
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    counts: NDArray[np.int64],
    seed: int,
    epoch: int,
) -> NDArray[np.int64]:
    """Choose counts[i] of the lengths[i] content tokens of each window, without replacement.

    starts, lengths, counts [B] -> ascending indices into the concatenated contents [N]. The
    authors draw with replacement, so that positions collide (google-research/electra issue 41);
    here the tokens with the smallest hashes are taken, which gives every subset the same chance.
    """
    window = np.repeat(np.arange(len(lengths), dtype=np.uint64), lengths)
    first = np.cumsum(lengths) - lengths
    within = np.arange(len(window)) - np.repeat(first, lengths)
    words = hash_words(seed, Purpose.MASK_POSITION, epoch, np.repeat(starts, lengths), within)
    # With the window's number in the upper bits, one sort orders the tokens inside each window.
    # 24 bits number the windows of a batch; 40 bits remain for the hash.
    order = np.argsort((window << np.uint64(40)) | (words >> np.uint64(24)))
    chosen = order[within < np.repeat(counts, lengths)]
    chosen.sort()
    return chosen


def shows_mask(
    starts: NDArray[np.int64], within: NDArray[np.int64], seed: int, epoch: int
) -> NDArray[np.bool_]:
    """Window start and place in it of each chosen token [N] -> whether it becomes [MASK] [N]."""
    return uniform(seed, Purpose.SHOW_MASK, epoch, starts, within) < SHOW_MASK_FRACTION


def sample_noise(
    starts: NDArray[np.int64], within: NDArray[np.int64], seed: int, epoch: int
) -> NDArray[np.float32]:
    """Window start and place in it [N] -> numbers in [0, 1) that float32 holds exactly [N]."""
    words = hash_words(seed, Purpose.SAMPLE, epoch, starts, within)
    return (words >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
