"""Copies of documents are found by their hashes, in bounded memory."""

import numpy as np

from electra_cli.preparing.duplicates import SeenHashes, hash_texts


def test_a_hash_is_the_same_on_every_machine_and_evenly_spread():
    # printf ELECTRA | xxhsum -H3
    assert [f"{value:016x}" for value in hash_texts([b"", b"ELECTRA"])] == [
        "2d06800538d394c2",
        "c437bce2e32bc005",
    ]
    hashes = hash_texts(b"%d" % number for number in range(20_000))
    assert np.histogram(hashes / 2**64, bins=10, range=(0, 1))[0].min() > 1_800


def test_copies_are_found_within_and_across_batches():
    draw = np.random.default_rng(4)
    possible = hash_texts(b"%d" % number for number in range(3_000))
    possible[:30] = np.arange(30)  # all of them belong into the first slot, and these
    possible[30:60] = 2**64 - 1 - np.arange(30, dtype=np.uint64)  # into the last one
    possible[0] = 77  # 0 and 1 are the same to it
    seen, known = SeenHashes(first_slots=64), set()
    for batch in np.array_split(draw.choice(possible, 10_000), 37):
        expected = []
        for value in batch.tolist():
            expected.append(value not in known)
            known.add(value)
        assert seen.add(batch).tolist() == expected
    assert not seen.is_full


def test_memory_of_copies_is_bounded_whatever_the_batches():
    hashes = hash_texts(b"%d" % number for number in range(1_000))
    for size in (1_000, 7, 300):
        seen = SeenHashes(max_remembered=600)
        for first in range(0, 1_000, size):
            assert seen.add(hashes[first : first + size]).all()
        assert seen.is_full
        assert seen.add(hashes).tolist() == [False] * 600 + [True] * 400
