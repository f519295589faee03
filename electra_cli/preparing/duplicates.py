"""Find exact copies of documents, in bounded memory.

By a 64-bit hash of the text. The same hash decides which documents are held out.
"""

from collections.abc import Iterable

import numpy as np
import xxhash
from numpy.typing import NDArray

FIRST_SLOTS = 1 << 18  # of 8 bytes each; a power of two
_MAX_SLOTS = 1 << 26
_MOVED_SLOTS = 1 << 20  # at once, into a larger table
MAX_REMEMBERED = _MAX_SLOTS // 4 * 3  # documents, 50 million


def hash_texts(texts: Iterable[bytes]) -> NDArray[np.uint64]:
    """XXH3 of each text, 64 bits, evenly spread and the same on every machine.

    Among 50 million different texts, any two share a hash with a chance of 1 in 15,000.
    """
    return np.fromiter(map(xxhash.xxh3_64_intdigest, texts), dtype=np.uint64)


class SeenHashes:
    """The hashes of all documents so far, at most `max_remembered`, in a hash table.

    A hash is in the slot that its first bits name, or in one of the full slots that follow. The
    table doubles while more than half of its slots are full, up to 512 MB; the last time, it needs
    256 MB more for a moment. A batch takes about a millisecond, however full the table is.
    """

    def __init__(
        self, max_remembered: int = MAX_REMEMBERED, first_slots: int = FIRST_SLOTS
    ) -> None:
        self._max_remembered = max_remembered
        self._num_remembered = 0
        self._table: NDArray[np.uint64] = np.zeros(first_slots, dtype=np.uint64)  # 0: empty

    @property
    def is_full(self) -> bool:
        """True when no more hashes are remembered; copies of remembered ones are still found."""
        return self._num_remembered >= self._max_remembered

    def add(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """[D] -> [D]: True for each hash that was not seen before, in this or an earlier call.

        Remembers the new ones.
        """
        hashes = np.maximum(hashes, 1)  # 0 marks an empty slot
        is_new = np.zeros(len(hashes), dtype=np.bool_)
        unique, first = np.unique(hashes, return_index=True)
        missing = self._table[self._find(unique)] != unique
        is_new[first[missing]] = True
        # In reading order, so that the sizes of batches never decide what is remembered.
        room = max(0, self._max_remembered - self._num_remembered)
        remembered = hashes[is_new][:room]
        self._num_remembered += len(remembered)
        while len(self._table) < min(2 * self._num_remembered, _MAX_SLOTS):
            self._grow()
        self._insert(remembered)
        return is_new

    def _find(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The slot of each hash, or the empty slot where it belongs."""
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
