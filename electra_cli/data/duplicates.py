"""Find documents that were seen before, in bounded memory.

Only exact copies are found, by a 64-bit hash of the text; the same hash decides what is held out.
"""

from collections.abc import Iterable

import numpy as np
import xxhash
from numpy.typing import NDArray

MAX_REMEMBERED = 2**26  # documents; 512 MB
_RUN_LENGTH = 2**20


def hash_texts(texts: Iterable[bytes]) -> NDArray[np.uint64]:
    """XXH3 of each text, 64 bits, evenly spread and the same on every machine.

    Among 67 million different texts, any two share a hash with a chance of 1 in 8,000.
    """
    return np.fromiter(map(xxhash.xxh3_64_intdigest, texts), dtype=np.uint64)


class SeenHashes:
    """The hashes of all documents so far: 8 bytes each, at most `max_remembered`."""

    def __init__(self, max_remembered: int = MAX_REMEMBERED) -> None:
        self._max_remembered = max_remembered
        self._sorted_runs: list[NDArray[np.uint64]] = []
        self._recent = np.zeros(0, dtype=np.uint64)

    @property
    def is_full(self) -> bool:
        """True once nothing more is remembered; copies of what is remembered are still found."""
        return self._num_remembered >= self._max_remembered

    @property
    def _num_remembered(self) -> int:
        return sum(map(len, self._sorted_runs)) + len(self._recent)

    def add(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """True for each hash that is new, here and in all calls before; remembers those."""
        is_new = np.zeros(len(hashes), dtype=np.bool_)
        unique, first = np.unique(hashes, return_index=True)
        for run in (*self._sorted_runs, self._recent):
            missing = ~_contains(run, unique)
            unique, first = unique[missing], first[missing]
        is_new[first] = True
        # In reading order, so that where a batch ends never decides what is remembered.
        room = max(0, self._max_remembered - self._num_remembered)
        fresh = np.sort(unique[np.argsort(first)[:room]])
        self._recent = np.insert(self._recent, np.searchsorted(self._recent, fresh), fresh)
        # Runs are never merged: 64 searches in 8 MB each cost less than the memory of a merge.
        if len(self._recent) >= _RUN_LENGTH:
            self._sorted_runs.append(self._recent)
            self._recent = np.zeros(0, dtype=np.uint64)
        return is_new


def _contains(run: NDArray[np.uint64], values: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """True where a value is in the sorted run."""
    places = np.searchsorted(run, values)
    found = places < len(run)
    found[found] = run[places[found]] == values[found]
    return found
