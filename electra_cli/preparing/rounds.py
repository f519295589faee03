"""Turn documents into shards, round by round, so that a kill loses at most two rounds.

A round ends when it has enough train tokens. Then its train and validation documents are written,
and the progress file after them, while the next round begins. The shards depend only on the
documents and the settings: after a kill, the same command writes the same bytes as if it had never
stopped.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import compress, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from electra_cli.data.manifest import Split
from electra_cli.data.report import TextCounts
from electra_cli.data.shards import ShardWriter, map_shards
from electra_cli.machine import usable_cores
from electra_cli.preparing.chunks import group_texts
from electra_cli.preparing.duplicates import SeenHashes, hash_texts
from electra_cli.preparing.encoder import TextEncoder, TokenIds
from electra_cli.preparing.state import PreparationState, save_state
from electra_cli.preparing.statistics import Tally, TokenCounts

MIN_DOCUMENT_TOKENS = 4  # shorter documents have no context to learn from
BATCH_BYTES = 8_000_000  # of text encoded in one call: some 25 ms
SLOW_BATCH_BYTES = 2_000_000  # without the fast engine: some 1 s, for which Ctrl-C waits
MAX_ENCODING_THREADS = 4  # the one reading thread cannot feed more; 40 MB each


@dataclass(frozen=True)
class _Encoded:
    """What the encoding threads make of the new documents."""

    ids: TokenIds
    lengths: NDArray[np.int64]  # ids of each document
    is_kept: NDArray[np.bool_]  # has enough of them
    text: TextCounts  # of those that are kept


@dataclass(frozen=True)
class _Batch:
    """Documents that are being encoded; only the new ones are."""

    sizes: NDArray[np.int64]  # bytes of each document
    hashes: NDArray[np.uint64]
    is_new: NDArray[np.bool_]
    encoded: Future[_Encoded]


class ShardPreparation:
    """Writes the rounds that an unfinished folder still lacks."""

    def __init__(
        self,
        directory: Path,
        encoder: TextEncoder,
        state: PreparationState,
        workers: int | None = None,
    ) -> None:
        """`workers` threads encode, the caller's among them; None: as many as are useful."""
        self.counts = TokenCounts(encoder.vocab_size)  # of all that was written
        self.train_counts = TokenCounts(encoder.vocab_size)
        self._directory = directory
        self._encoder = encoder
        self._threads = 1  # Hugging Face tokenizers have threads of their own
        if encoder.is_fast:
            self._threads = workers or min(usable_cores(), MAX_ENCODING_THREADS)
        self._state = state
        self._tally = state.tally.model_copy()
        self._seen = SeenHashes()
        for shard in state.shards:
            part = map_shards(directory, [shard], shard.split)
            ids = part.count_ids(encoder.vocab_size)
            self._count_tokens(shard.split, ids, np.diff(part.offsets))
        # A document is held out by its own hash, so adding others never moves it.
        self._held_out_below = int(state.settings.validation_fraction * 2**64)
        self._train, self._validation = self._new_writer("train"), self._new_writer("validation")
        self._writing: Future[None] | None = None  # of the last round that ended

    def _new_writer(self, split: Split) -> ShardWriter:
        num_written = sum(shard.split == split for shard in self._state.shards)
        return ShardWriter(self._directory, split, num_written)

    @property
    def knows_all_duplicates(self) -> bool:
        """False when there were more documents than are remembered."""
        return not self._seen.is_full

    def write_rounds(
        self, documents: Iterator[bytes], on_batch: Callable[[], None]
    ) -> PreparationState:
        """Write all rounds, and call `on_batch` after every few MB of text.

        This thread reads, finds duplicates and collects what was encoded, in the order of reading.
        Other threads encode; when they have enough to do, this thread encodes a batch itself. With
        as many computing threads as cores, prepare takes 5% less time than with one more. One
        thread writes, a round behind.
        """
        # Rounds end with a batch, so a batch is no larger than a shard, however small that is.
        batch_bytes = BATCH_BYTES if self._encoder.is_fast else SLOW_BATCH_BYTES
        batch_bytes = min(batch_bytes, self._state.settings.shard_tokens)
        for texts in group_texts(islice(documents, self._tally.documents), batch_bytes):
            self._seen.add(hash_texts(texts))
            on_batch()
        others = self._threads - 1
        # Batches that the other threads are given: one for each, and two that wait.
        max_submitted = others + 2 if others else 0
        with ThreadPoolExecutor(1) as writing, ThreadPoolExecutor(max(1, others)) as encoding:
            batches: deque[_Batch] = deque()
            for texts in group_texts(documents, batch_bytes):
                submitted = sum(not batch.encoded.done() for batch in batches)
                has_room = submitted < max_submitted
                batches.append(self._start_batch(texts, encoding if has_room else None))
                # While the first one is slow, at most so many are held in memory.
                while batches and (batches[0].encoded.done() or len(batches) > 2 * max_submitted):
                    self._collect_batch(batches.popleft(), writing)
                on_batch()
            for batch in batches:
                self._collect_batch(batch, writing)
            self._end_round(writing)
            self._wait_for_round()
        return self._state

    def _start_batch(self, texts: list[bytes], encoding: ThreadPoolExecutor | None) -> _Batch:
        """Encode the new texts in the other threads; without `encoding`, in this one."""
        hashes = hash_texts(texts)
        is_new = self._seen.add(hashes)
        new_texts = list(compress(texts, is_new))
        if encoding is None:
            encoded: Future[_Encoded] = Future()
            encoded.set_result(self._encode(new_texts))
        else:
            encoded = encoding.submit(self._encode, new_texts)
        sizes = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
        return _Batch(sizes, hashes, is_new, encoded)

    def _encode(self, texts: list[bytes]) -> _Encoded:
        ids, lengths = self._encoder.encode(texts)
        is_kept = lengths >= MIN_DOCUMENT_TOKENS
        kept_ids = ids if is_kept.all() else ids[np.repeat(is_kept, lengths)]
        text = self._encoder.lost_text.count(
            list(compress(texts, is_kept)), kept_ids, lengths[is_kept]
        )
        return _Encoded(ids, lengths, is_kept, text)

    def _collect_batch(self, batch: _Batch, writing: ThreadPoolExecutor) -> None:
        """Count a batch and add its documents to the writers; ends the round if it is full."""
        sizes, is_new = batch.sizes, batch.is_new
        encoded = batch.encoded.result()
        ids, lengths, is_kept = encoded.ids, encoded.lengths, encoded.is_kept

        self._tally.documents += len(sizes)
        self._tally.duplicates += int((~is_new).sum())
        self._tally.duplicate_bytes += int(sizes[~is_new].sum())
        self._tally.too_short += int((~is_kept).sum())
        self._tally.too_short_bytes += int(sizes[is_new][~is_kept].sum())
        self._tally.too_short_tokens += int(lengths[~is_kept].sum())
        self._tally.text += encoded.text
        self._tally.kept_bytes += int(sizes[is_new][is_kept].sum())

        hashes = batch.hashes[is_new]
        is_held_out = hashes < np.uint64(self._held_out_below)
        self._train.add(ids, lengths, hashes, is_kept & ~is_held_out)
        self._validation.add(ids, lengths, hashes, is_kept & is_held_out)
        if self._train.num_tokens >= self._state.settings.shard_tokens:
            self._end_round(writing)

    def _end_round(self, writing: ThreadPoolExecutor) -> None:
        self._wait_for_round()  # so at most two rounds are in memory
        full = (self._train, self._validation)
        self._writing = writing.submit(self._write_round, full, self._tally.model_copy())
        self._train, self._validation = (writer.following() for writer in full)

    def _wait_for_round(self) -> None:
        """Until the last round is written. Raises what its thread raised."""
        if self._writing is not None:
            self._writing.result()

    def _write_round(self, writers: Iterable[ShardWriter], tally: Tally) -> None:
        records = []
        for writer in writers:
            # Counted before they are joined and written, which then finds them in the processor's
            # cache: saves 3% of prepare.
            id_counts = writer.count_ids(self._encoder.vocab_size)
            if record := writer.write():
                records.append(record)
                self._count_tokens(record.split, id_counts, writer.lengths())
        self._state = self._state.model_copy(
            update={"shards": (*self._state.shards, *records), "tally": tally}
        )
        save_state(self._directory, self._state)

    def _count_tokens(
        self, split: Split, id_counts: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> None:
        self.counts.add(id_counts, lengths)
        if split == "train":
            self.train_counts.add(id_counts, lengths)
