"""Turn documents into shards, round by round, so that a kill loses one round at the most.

A round ends when it has enough train tokens; then its train and its validation documents are
written, and the progress file after them, while the next one begins. What is written is a function
of the documents and the settings alone: a run that goes on after a kill writes the same bytes as
one never stopped.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import compress, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from electra_cli.data.shards import (
    FORMAT_VERSION,
    PROGRESS_NAME,
    PrepareSettings,
    ShardRecord,
    ShardWriter,
    Split,
    map_shards,
)
from electra_cli.disk import replace_file
from electra_cli.errors import DataError
from electra_cli.preparing.chunks import group_texts
from electra_cli.preparing.duplicates import SeenHashes, hash_texts
from electra_cli.preparing.encoder import TextEncoder, TokenIds
from electra_cli.preparing.statistics import Tally, TokenCounts

MIN_DOCUMENT_TOKENS = 4  # less has no context to learn from
BATCH_BYTES = 8_000_000  # of text encoded in one call: some 25 ms
SLOW_BATCH_BYTES = 2_000_000  # without the fast engine: a second, for which Ctrl-C waits
MAX_ENCODING_THREADS = 4  # as many as one that reads keeps busy; 40 MB each


class Progress(BaseModel):
    """What an unfinished folder holds so far."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    settings: PrepareSettings
    shards: tuple[ShardRecord, ...] = ()
    tally: Tally = Tally()

    def save(self, directory: Path) -> None:
        """Replace the progress file at once."""
        content = self.model_dump_json(indent=1).encode()
        replace_file(directory / PROGRESS_NAME, lambda file: file.write(content))


def load_progress(directory: Path) -> Progress | None:
    """How far an unfinished folder is; None if nothing has begun there.

    Raises DataError if the file is damaged, or of another version of this program.
    """
    path = directory / PROGRESS_NAME
    try:
        return Progress.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise DataError(
            f"{path} is damaged, or of another version of electra",
            hint="start anew with another --out",
        ) from error


@dataclass(frozen=True)
class _Batch:
    """Documents that are being encoded; the ids will be those of the new ones."""

    sizes: NDArray[np.int64]  # bytes of each document
    hashes: NDArray[np.uint64]
    is_new: NDArray[np.bool_]
    encoded: Future[tuple[TokenIds, NDArray[np.int64]]]


class ShardPreparation:
    """Writes the rounds that are still missing of an unfinished folder."""

    def __init__(
        self,
        directory: Path,
        encoder: TextEncoder,
        progress: Progress,
        workers: int | None = None,
    ) -> None:
        """`workers` threads encode, the caller's among them; by default as many as are of use."""
        self.counts = TokenCounts(encoder.vocab_size)  # of all that is written
        self.train_counts = TokenCounts(encoder.vocab_size)
        self._directory = directory
        self._encoder = encoder
        self._threads = 1  # Hugging Face's engine has threads of its own
        if encoder.is_fast:
            self._threads = workers or min(os.cpu_count() or 1, MAX_ENCODING_THREADS)
        self._progress = progress
        self._tally = progress.tally.model_copy()
        self._seen = SeenHashes()
        for shard in progress.shards:
            part = map_shards(directory, [shard], shard.split)
            self._count(shard.split, part.count_ids(encoder.vocab_size), np.diff(part.offsets))
        # A document is held out by its own hash, so adding others never moves it.
        self._held_out_below = int(progress.settings.validation_fraction * 2**64)
        self._train, self._validation = self._writer("train"), self._writer("validation")
        self._round: Future[None] | None = None  # the one before, while it is written

    def _writer(self, split: Split) -> ShardWriter:
        written = sum(shard.split == split for shard in self._progress.shards)
        return ShardWriter(self._directory, split, written)

    @property
    def knows_all_duplicates(self) -> bool:
        """False when there were more documents than are remembered."""
        return not self._seen.is_full

    def run(self, documents: Iterator[bytes], on_batch: Callable[[], None]) -> Progress:
        """Write all rounds, and call `on_batch` after every few MB of text.

        This thread reads, finds copies and collects what is encoded, in the order of reading. It
        encodes a batch itself whenever the others have enough to do: with as many threads that
        compute as cores, prepare takes 5% less time than with one more. One writes, a round behind.
        """
        # Rounds end with a batch, so a batch is no larger than a shard, however small that is.
        batch_bytes = BATCH_BYTES if self._encoder.is_fast else SLOW_BATCH_BYTES
        batch_bytes = min(batch_bytes, self._progress.settings.shard_tokens)
        for texts in group_texts(islice(documents, self._tally.documents), batch_bytes):
            self._seen.add(hash_texts(texts))
            on_batch()
        others = self._threads - 1
        enough = others and others + 2  # batches: one for each, and two that wait
        with ThreadPoolExecutor(1) as writing, ThreadPoolExecutor(max(1, others)) as encoding:
            batches: deque[_Batch] = deque()
            for texts in group_texts(documents, batch_bytes):
                waiting = sum(not batch.encoded.done() for batch in batches)
                batches.append(self._begin(texts, encoding if waiting < enough else None))
                # However long the first one takes, no more than so many are held.
                while batches and (batches[0].encoded.done() or len(batches) > 2 * enough):
                    self._add(batches.popleft(), writing)
                on_batch()
            for batch in batches:
                self._add(batch, writing)
            self._end_round(writing)
            self._await_round()
        return self._progress

    def _begin(self, texts: list[bytes], encoding: ThreadPoolExecutor | None) -> _Batch:
        """Begin to encode the new ones, or do it at once without other threads."""
        hashes = hash_texts(texts)
        is_new = self._seen.add(hashes)
        new_texts = list(compress(texts, is_new))
        if encoding is None:
            encoded: Future[tuple[TokenIds, NDArray[np.int64]]] = Future()
            encoded.set_result(self._encoder.encode(new_texts))
        else:
            encoded = encoding.submit(self._encoder.encode, new_texts)
        sizes = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
        return _Batch(sizes, hashes, is_new, encoded)

    def _add(self, batch: _Batch, writing: ThreadPoolExecutor) -> None:
        sizes, is_new = batch.sizes, batch.is_new
        ids, lengths = batch.encoded.result()
        is_kept = lengths >= MIN_DOCUMENT_TOKENS

        self._tally.documents += len(sizes)
        self._tally.duplicates += int((~is_new).sum())
        self._tally.duplicate_bytes += int(sizes[~is_new].sum())
        self._tally.too_short += int((~is_kept).sum())
        self._tally.too_short_bytes += int(sizes[is_new][~is_kept].sum())
        self._tally.kept_bytes += int(sizes[is_new][is_kept].sum())

        hashes = batch.hashes[is_new]
        is_held_out = hashes < np.uint64(self._held_out_below)
        for writer, chosen in (
            (self._train, is_kept & ~is_held_out),
            (self._validation, is_kept & is_held_out),
        ):
            writer.add(ids, lengths, hashes, chosen)
        if self._train.num_tokens >= self._progress.settings.shard_tokens:
            self._end_round(writing)

    def _end_round(self, writing: ThreadPoolExecutor) -> None:
        self._await_round()  # no more than two are held
        full = (self._train, self._validation)
        self._round = writing.submit(self._write_round, full, self._tally.model_copy())
        self._train, self._validation = (writer.following() for writer in full)

    def _await_round(self) -> None:
        """Until the last round is written. Raises what that raised."""
        if self._round is not None:
            self._round.result()

    def _write_round(self, writers: Iterable[ShardWriter], tally: Tally) -> None:
        records = []
        for writer in writers:
            # Before they are joined and written, which then finds them in the cache: 3% of prepare.
            id_counts = writer.count_ids(self._encoder.vocab_size)
            if record := writer.write():
                records.append(record)
                self._count(record.split, id_counts, writer.lengths())
        self._progress = self._progress.model_copy(
            update={"shards": (*self._progress.shards, *records), "tally": tally}
        )
        self._progress.save(self._directory)

    def _count(
        self, split: Split, id_counts: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> None:
        self.counts.add(id_counts, lengths)
        if split == "train":
            self.train_counts.add(id_counts, lengths)
