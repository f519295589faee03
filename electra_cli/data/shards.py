"""Write and memory-map token shards.

A shard is an Arrow IPC stream of one record batch with a row per document: `input_ids`,
`text_hash`. `datasets` opens it as it is. Tokens are read through the memory map, never all at
once.
"""

# Shapes: D documents and T tokens of a split, R ranges of tokens.

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from electra_cli.data.manifest import ShardManifest, ShardRecord, Split, damaged_file
from electra_cli.disk import replace_file, sha256_of
from electra_cli.machine import usable_cores

if TYPE_CHECKING:
    import pyarrow as pa

SHARD_TOKENS = 16_000_000  # 32 MB; 2^31 at most, since list offsets have 32 bits
_COUNTED_TOKENS = 1 << 18  # at once


class ShardWriter:
    """Collects documents of one split until `write` makes a shard of them."""

    def __init__(self, directory: Path, split: Split, index: int) -> None:
        self._directory = directory
        self._split: Split = split
        self._index = index
        self._ids: list[NDArray[np.unsignedinteger]] = []
        self._lengths: list[NDArray[np.int64]] = []
        self._hashes: list[NDArray[np.uint64]] = []
        self.num_tokens = 0

    def add(
        self,
        ids: NDArray[np.unsignedinteger],
        lengths: NDArray[np.int64],
        hashes: NDArray[np.uint64],
        chosen: NDArray[np.bool_],
    ) -> None:
        """Add the chosen documents: ids [T] of all, lengths [D], hashes [D], chosen [D].

        The ids are kept by reference until `write` copies them, once.
        """
        ends = np.concatenate([[0], np.cumsum(lengths)])
        edges = np.flatnonzero(np.diff(chosen, prepend=False, append=False))
        self._ids += np.split(ids, ends[edges])[1::2]  # each covers chosen neighbours
        self._lengths.append(lengths[chosen])
        self._hashes.append(hashes[chosen])
        self.num_tokens += int(lengths[chosen].sum())

    def write(self) -> ShardRecord | None:
        """Write all that was added; None, and no file, if nothing was."""
        if not self._ids:
            return None
        import pyarrow as pa

        path = self._directory / f"{self._split}-{self._index:05d}.arrow"
        lengths = self.lengths()
        offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
        np.cumsum(lengths, out=offsets[1:])
        ids, hashes = np.concatenate(self._ids), np.concatenate(self._hashes)
        documents = pa.ListArray.from_arrays(_to_arrow(offsets), _to_arrow(ids))
        batch = pa.RecordBatch.from_arrays(
            [documents, _to_arrow(hashes)], names=["input_ids", "text_hash"]
        )

        def write_stream(file: RawIOBase) -> None:
            with pa.ipc.new_stream(file, batch.schema) as stream:
                stream.write_batch(batch)

        sha256 = replace_file(path, write_stream)
        return ShardRecord(
            name=path.name,
            split=self._split,
            num_documents=len(lengths),
            num_tokens=self.num_tokens,
            num_bytes=path.stat().st_size,
            sha256=sha256,
        )

    def count_ids(self, vocab_size: int) -> NDArray[np.int64]:
        """[V]: how often each id occurs in all that was added."""
        return _count_ids(self._ids, vocab_size)

    def lengths(self) -> NDArray[np.int64]:
        """[D]: tokens of each document that was added."""
        return np.concatenate(self._lengths)

    def following(self) -> "ShardWriter":
        """A new writer for the next shard, so that another thread can write this one."""
        return ShardWriter(self._directory, self._split, self._index + bool(self._ids))


class TokenShards:
    """One split of a prepared folder, memory-mapped; documents are numbered over all shards."""

    def __init__(self, shards: Sequence[tuple[NDArray[Any], NDArray[np.int32]]]) -> None:
        """Each shard is its tokens and the offsets of its documents in them."""
        self._tokens = [tokens for tokens, _ in shards]
        sizes = [len(tokens) for tokens in self._tokens]
        self._bounds: NDArray[np.int64] = np.cumsum([0, *sizes], dtype=np.int64)
        self.num_documents = sum(len(offsets) - 1 for _, offsets in shards)
        self.offsets: NDArray[np.int64] = np.zeros(self.num_documents + 1, dtype=np.int64)
        first = 1
        for bound, (_, offsets) in zip(self._bounds[:-1], shards, strict=True):
            ends = self.offsets[first : first + len(offsets) - 1]
            np.add(offsets[1:], bound, out=ends)
            first += len(ends)
        self.num_tokens = int(self._bounds[-1])

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Tokens [start, stop) of the split, as a view; the range must lie within one document."""
        shard = int(np.searchsorted(self._bounds[1:-1], start, side="right"))
        first = int(self._bounds[shard])
        return self._tokens[shard][start - first : stop - first]

    def gather(self, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """starts [R], lengths [R] -> the tokens of all ranges one after the other.

        No range may cross a document's end. A plain loop over slices: with 128 tokens per range it
        copies 80 million tokens per second, several times as many as fancy indexing over shards.
        """
        ends = np.cumsum(lengths)
        gathered = np.empty(int(ends[-1]) if len(ends) else 0, dtype=np.int64)
        shards = np.searchsorted(self._bounds[1:-1], starts, side="right")
        firsts = starts - self._bounds[shards]
        begins = ends - lengths
        for shard, first, begin, end in zip(
            shards.tolist(), firsts.tolist(), begins.tolist(), ends.tolist(), strict=True
        ):
            gathered[begin:end] = self._tokens[shard][first : first + end - begin]
        return gathered

    def count_ids(self, vocab_size: int) -> NDArray[np.int64]:
        """[V]: how often each id occurs."""
        return _count_ids(self._tokens, vocab_size)


def _count_ids(arrays: Iterable[NDArray[Any]], vocab_size: int) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = np.zeros(vocab_size, dtype=np.int64)
    for ids in arrays:
        # bincount converts to 8 bytes per id: ten times as fast if they fit into the cache.
        for first in range(0, len(ids), _COUNTED_TOKENS):
            counts += np.bincount(ids[first : first + _COUNTED_TOKENS], minlength=vocab_size)
    return counts


def open_shards(directory: Path, manifest: ShardManifest, split: Split) -> TokenShards:
    """Memory-map a split. Raises DataError that names the first missing or damaged file."""
    return map_shards(directory, manifest.shards, split)


def map_shards(directory: Path, shards: Iterable[ShardRecord], split: Split) -> TokenShards:
    """open_shards for a folder that has no manifest yet."""
    return TokenShards([_map_shard(directory, shard) for shard in shards if shard.split == split])


def verify_shards(directory: Path, shards: Iterable[ShardRecord]) -> None:
    """Read these shards and compare checksums. Raises DataError that names the damaged one.

    In threads, since hashing releases the interpreter's lock.
    """

    def verify(shard: ShardRecord) -> None:
        path = find_shard(directory, shard)
        if sha256_of(path) != shard.sha256:
            raise damaged_file(path, "its checksum differs from the manifest's")

    with ThreadPoolExecutor(usable_cores()) as threads:
        for _ in threads.map(verify, shards):
            pass


def find_shard(directory: Path, shard: ShardRecord) -> Path:
    """Its file. Raises DataError if it is missing, outside the folder or of another size."""
    path = directory / shard.name
    if not path.is_file():
        raise damaged_file(path, "it is missing")
    if not path.resolve().is_relative_to(directory.resolve()):
        raise damaged_file(path, "it is a link to outside of the folder")
    size = path.stat().st_size
    if size != shard.num_bytes:
        raise damaged_file(path, f"it has {size:,} bytes, not {shard.num_bytes:,}")
    return path


def _map_shard(directory: Path, shard: ShardRecord) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Tokens and offsets of a shard, as views of the file; they keep the memory map open."""
    import pyarrow as pa

    path = find_shard(directory, shard)
    with pa.memory_map(str(path)) as file:
        try:
            documents = pa.ipc.open_stream(file).read_next_batch().column("input_ids")
            documents.validate(full=True)  # unchecked, a damaged offset reads outside the file
            if documents.type not in (pa.list_(pa.uint16()), pa.list_(pa.uint32())):
                raise pa.ArrowTypeError(f"input_ids are {documents.type}")
        except (pa.ArrowException, OSError, KeyError, StopIteration) as error:
            raise damaged_file(path, str(error)) from error
    if (len(documents), len(documents.values)) != (shard.num_documents, shard.num_tokens):
        raise damaged_file(path, "its counts differ from the manifest's")
    return _to_numpy(documents.values), _to_numpy(documents.offsets)


# pyarrow's own conversions from and to numpy import pandas, which takes a third of a second.
def _to_arrow(integers: NDArray[Any]) -> "pa.Array":
    """The same numbers, without a copy."""
    import pyarrow as pa

    kind = pa.from_numpy_dtype(integers.dtype)
    return pa.Array.from_buffers(kind, len(integers), [None, pa.py_buffer(integers)])


def _to_numpy(integers: "pa.Array") -> NDArray[Any]:
    """The same numbers, without a copy."""
    kind = np.dtype(str(integers.type))
    start = integers.offset * kind.itemsize
    return np.frombuffer(integers.buffers()[1], kind, count=len(integers), offset=start)
