"""Turn documents into shards, round by round, so that a kill loses one round at the most.

A round ends when it has enough train tokens; then its train and its validation documents are
written, and the progress file after them. What is written is a function of the documents and the
settings alone: a run that goes on after a kill writes the same bytes as one never stopped.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from electra_cli.data.duplicates import SeenHashes, hash_texts
from electra_cli.data.encoder import TextEncoder, TokenIds
from electra_cli.data.report import Tally
from electra_cli.data.shards import (
    FORMAT_VERSION,
    PROGRESS_NAME,
    PrepareSettings,
    ShardRecord,
    ShardWriter,
    Split,
)
from electra_cli.data.text_input import utf8_bytes
from electra_cli.data.text_pieces import CHUNK_CHARS, group_texts
from electra_cli.disk import replace_file
from electra_cli.errors import DataError

MIN_DOCUMENT_TOKENS = 4  # less has no context to learn from


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


class _Batch(NamedTuple):
    """Documents on their way; `encoding` is of the new ones among them."""

    texts: list[str]
    hashes: NDArray[np.uint64]
    is_new: NDArray[np.bool_]
    encoding: Future[tuple[TokenIds, NDArray[np.int64]]]


class ShardPreparation:
    """Writes the rounds that are still missing of an unfinished folder."""

    def __init__(self, directory: Path, encoder: TextEncoder, progress: Progress) -> None:
        self._directory = directory
        self._encoder = encoder
        self._progress = progress
        self._tally = progress.tally.model_copy()
        self._seen = SeenHashes()
        # A document is held out by its own hash, so adding others never moves it.
        self._held_out_below = int(progress.settings.validation_fraction * 2**64)
        self._writers = [self._writer("train"), self._writer("validation")]

    def _writer(self, split: Split) -> ShardWriter:
        written = sum(shard.split == split for shard in self._progress.shards)
        return ShardWriter(self._directory, split, written)

    @property
    def knows_all_duplicates(self) -> bool:
        """False when there were more documents than are remembered."""
        return not self._seen.is_full

    def run(self, documents: Iterator[str], on_batch: Callable[[], None]) -> Progress:
        """Write all rounds, and call `on_batch` after every few MB of text."""
        shard_tokens = self._progress.settings.shard_tokens
        # Rounds end with a batch, so a batch is no larger than a shard, however small that is.
        batch_chars = min(CHUNK_CHARS, shard_tokens)
        for texts in group_texts(islice(documents, self._tally.documents), batch_chars):
            self._seen.add(hash_texts(texts))
            on_batch()
        for batch in self._encode(group_texts(documents, batch_chars)):
            self._add(batch)
            if self._writers[0].num_tokens >= shard_tokens:
                self._write_round()
            on_batch()
        self._write_round()
        return self._progress

    def _encode(self, batches: Iterator[list[str]]) -> Iterator[_Batch]:
        """Encodes each batch in a thread, while the next one is read and hashed."""
        before: _Batch | None = None
        with ThreadPoolExecutor(1) as thread:
            for texts in batches:
                hashes = hash_texts(texts)
                is_new = self._seen.add(hashes)
                fresh = [texts[i] for i in np.flatnonzero(is_new)]
                encoding = thread.submit(self._encoder.encode, fresh)
                if before is not None:
                    yield before
                before = _Batch(texts, hashes, is_new, encoding)
            if before is not None:
                yield before

    def _add(self, batch: _Batch) -> None:
        texts, hashes, is_new = batch.texts, batch.hashes, batch.is_new
        sizes = np.array([utf8_bytes(text) for text in texts], dtype=np.int64)
        ids, lengths = batch.encoding.result()
        is_kept = lengths >= MIN_DOCUMENT_TOKENS

        self._tally.documents += len(texts)
        self._tally.duplicates += int((~is_new).sum())
        self._tally.duplicate_bytes += int(sizes[~is_new].sum())
        self._tally.too_short += int((~is_kept).sum())
        self._tally.too_short_bytes += int(sizes[is_new][~is_kept].sum())
        self._tally.kept_bytes += int(sizes[is_new][is_kept].sum())

        is_held_out = hashes[is_new] < np.uint64(self._held_out_below)
        train, validation = self._writers
        for writer, chosen in (
            (train, is_kept & ~is_held_out),
            (validation, is_kept & is_held_out),
        ):
            writer.add(ids[np.repeat(chosen, lengths)], lengths[chosen], hashes[is_new][chosen])

    def _write_round(self) -> None:
        records = [writer.write() for writer in self._writers]
        self._progress = self._progress.model_copy(
            update={
                "shards": (*self._progress.shards, *(record for record in records if record)),
                "tally": self._tally.model_copy(),
            }
        )
        self._progress.save(self._directory)
