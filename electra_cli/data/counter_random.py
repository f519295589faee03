"""Random numbers as a function of counters, without state: the same on any number of processes.

Each draw hashes (seed, purpose, counters...) with the finalizer of SplitMix64 (Steele, Lea and
Flood 2014, https://doi.org/10.1145/2714064.2660195), which passes BigCrush on plain counters.
"""

from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Counters = NDArray[np.int64] | Words | int

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_FEISTEL_ROUNDS = 4


class Purpose(IntEnum):
    """What a number is for: equal counters give independent numbers for different purposes."""

    ORDER = 1
    SINGLE_SEGMENT = 2
    SHORT_WINDOW = 3
    SHORT_LENGTH = 4
    SEGMENT_CUT = 5
    MASK_POSITION = 6
    SHOW_MASK = 7
    SAMPLE = 8
    DROPOUT = 9


def _mix(words: Words) -> Words:
    mixed = words + _GAMMA
    mixed ^= mixed >> _SHIFTS[0]
    mixed *= _FACTORS[0]
    mixed ^= mixed >> _SHIFTS[1]
    mixed *= _FACTORS[1]
    mixed ^= mixed >> _SHIFTS[2]
    return mixed


@lru_cache(maxsize=256)
def _key(*numbers: int) -> Words:
    """[1]: the hash of plain numbers; cached, as most calls have the same ones."""
    words = np.zeros(1, dtype=np.uint64)
    for number in numbers:
        words = _mix(words ^ np.uint64(number % 2**64))
    return words


def hash_words(seed: int, purpose: Purpose, *counters: Counters) -> Words:
    """64 random bits for each of the broadcast counters: plain numbers first, then arrays."""
    plain = [counter for counter in counters if isinstance(counter, int)]
    words = _key(seed, purpose, *plain)
    for counter in counters[len(plain) :]:
        words = _mix(words ^ np.asarray(counter).astype(np.uint64, copy=False))
    return words


def uniform(seed: int, purpose: Purpose, *counters: Counters) -> NDArray[np.float64]:
    """Numbers in [0, 1): the same seed and counters give the same numbers, on any machine."""
    words = hash_words(seed, purpose, *counters) >> np.uint64(11)
    return words.astype(np.float64) * 2.0**-53


def permute(indices: NDArray[np.int64], size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """A permutation of range(size), evaluated only at `indices`: no table of it is needed.

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
            key = hash_words(seed, Purpose.ORDER, epoch, round_number, right)
            left, right = right, left ^ (key & mask)
        result[outside] = (left << half_bits) | right
        outside = result >= np.uint64(size)
    return result.astype(np.int64)
