"""Randomness as a function of counters: no state, so it is the same on any number of processes.

Each draw hashes (seed, purpose, counters...) with the finalizer of SplitMix64 (Steele, Lea and
Flood 2014, https://doi.org/10.1145/2714064.2660195), which passes BigCrush on plain counters.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Counters = NDArray[np.int64] | int
Words = NDArray[np.uint64]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FEISTEL_ROUNDS = 4


class Purpose(IntEnum):
    """What a number is drawn for: equal counters of different purposes are independent."""

    ORDER = 1
    SINGLE_SEGMENT = 2
    SHORT_WINDOW = 3
    SHORT_LENGTH = 4
    SEGMENT_CUT = 5
    MASK_POSITION = 6
    SHOW_MASK = 7
    SAMPLE = 8


def _mix(words: Words) -> Words:
    words = words + _GAMMA
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def hash_words(seed: int, purpose: Purpose, *counters: Counters) -> Words:
    """64 random bits for each of the broadcast counters."""
    words = _mix(np.array([seed % 2**64], dtype=np.uint64))
    for counter in (int(purpose), *counters):
        words = _mix(words ^ np.asarray(counter, dtype=np.int64).astype(np.uint64))
    return words


def uniform(seed: int, purpose: Purpose, *counters: Counters) -> NDArray[np.float64]:
    """Numbers in [0, 1): the same seed and counters give the same numbers, on any machine."""
    words = hash_words(seed, purpose, *counters) >> np.uint64(11)
    return words.astype(np.float64) * 2.0**-53


def permute(indices: NDArray[np.int64], size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """A permutation of range(size), evaluated at `indices` alone: no table of it exists.

    A Feistel network over the next even power of two, walked along its cycles until it lands
    inside range(size) (Black and Rogaway 2002, "Ciphers with arbitrary finite domains").
    """
    half_bits = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
    mask = (np.uint64(1) << half_bits) - np.uint64(1)
    result = indices.astype(np.uint64)
    outside = np.ones(result.shape, dtype=bool)
    while outside.any():
        left, right = result[outside] >> half_bits, result[outside] & mask
        for round_number in range(_FEISTEL_ROUNDS):
            key = hash_words(seed, Purpose.ORDER, epoch, round_number, right.astype(np.int64))
            left, right = right, left ^ (key & mask)
        result[outside] = (left << half_bits) | right
        outside = result >= np.uint64(size)
    return result.astype(np.int64)
