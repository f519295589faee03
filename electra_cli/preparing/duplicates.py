"""Find documents that were seen before, in bounded memory.

Only exact copies are found, by a 64-bit hash of the text; the same hash decides what is held out.
"""

from collections.abc import Iterable

import numpy as np
import xxhash
from numpy.typing import NDArray

_FIRST_SLOTS = 1 << 18  # of 8 bytes each
_MAX_SLOTS = 1 << 26
_MOVED_SLOTS = 1 << 20  # at a time into a larger table
MAX_REMEMBERED = _MAX_SLOTS // 4 * 3  # documents, 50 million


def hash_texts(texts: Iterable[bytes]) -> NDArray[np.uint64]:
    """XXH3 of each text, 64 bits, evenly spread and the same on every machine.

    Among 50 million different texts, any two share a hash with a chance of 1 in 15,000.
    """
    return np.fromiter(map(xxhash.xxh3_64_intdigest, texts), dtype=np.uint64)


class SeenHashes:
    """The hashes of all documents so far, at most `max_remembered`.

    A hash table. A hash is in the slot that its first bits name, or in one of the full slots that
    follow. Half of the slots stay empty while the table may grow: up to 512 MB, and half of that
    while it grows for the last time. However many it holds, a batch takes about a millisecond.
    """

    def __init__(self, max_remembered: int = MAX_REMEMBERED) -> None:
        self._max_remembered = max_remembered
        self._num_remembered = 0
        self._table: NDArray[np.uint64] = np.zeros(_FIRST_SLOTS, dtype=np.uint64)  # 0: empty

    @property
    def is_full(self) -> bool:
        """True once nothing more is remembered; copies of what is remembered are still found."""
        return self._num_remembered >= self._max_remembered

    def add(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """True for each hash that is new, here and in all calls before; remembers those."""
        hashes = np.maximum(hashes, 1)  # 0 is what an empty slot holds
        is_new = np.zeros(len(hashes), dtype=np.bool_)
        unique, first = np.unique(hashes, return_index=True)
        missing = self._table[self._find(unique)] != unique
        is_new[first[missing]] = True
        # In reading order, so that where a batch ends never decides what is remembered.
        room = max(0, self._max_remembered - self._num_remembered)
        remembered = hashes[is_new][:room]
        self._num_remembered += len(remembered)
        while len(self._table) < min(2 * self._num_remembered, _MAX_SLOTS):
            self._grow()
        self._insert(remembered)
        return is_new

    def _find(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The slot of each, or the empty one in which it may be put."""
        bits = len(self._table).bit_length() - 1
        slots = (hashes >> np.uint64(64 - bits)).astype(np.int64)
        searching = np.arange(len(hashes))
        while len(searching):
            found = self._table[slots[searching]]
            searching = searching[(found != hashes[searching]) & (found != 0)]
            slots[searching] = (slots[searching] + 1) & (len(self._table) - 1)
        return slots

    def _insert(self, hashes: NDArray[np.uint64]) -> None:
        while len(hashes):
            slots = self._find(hashes)
            self._table[slots] = hashes  # where several want the same slot, one gets it
            hashes = hashes[self._table[slots] != hashes]

    def _grow(self) -> None:
        old = self._table
        self._table = np.zeros(2 * len(old), dtype=np.uint64)
        for start in range(0, len(old), _MOVED_SLOTS):
            part = old[start : start + _MOVED_SLOTS]
            self._insert(part[part != 0])
