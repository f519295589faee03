"""From a source to a folder of token shards: tokenizer, shards, manifest, one after another.

Which folder, and whether it may be written, is folder.py's work.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from electra_cli import console
from electra_cli.data.shards import (
    FORMAT_VERSION,
    PROGRESS_NAME,
    TOKENIZER_NAME,
    PrepareSettings,
    ShardManifest,
    count_split,
    save_manifest,
)
from electra_cli.data.tokenizer import Tokenizer, fingerprint, load_tokenizer, word_starts
from electra_cli.errors import DataError
from electra_cli.preparing.chunks import group_texts
from electra_cli.preparing.duplicates import MAX_REMEMBERED
from electra_cli.preparing.encoder import TextEncoder
from electra_cli.preparing.folder import begin, claim
from electra_cli.preparing.rounds import BATCH_BYTES, Progress, ShardPreparation
from electra_cli.preparing.sources import Source
from electra_cli.preparing.statistics import build_report, unigram_entropy
from electra_cli.preparing.summary import show_report
from electra_cli.preparing.vocabulary import sample_texts, train_tokenizer
from electra_cli.stopping import StopRequest, wait_for

SAMPLE_CHARS = 64_000_000  # text that a tokenizer is learned from
CHECKED_BYTES = 300_000  # both engines encode so much text of every source, and must agree
SAMPLED_RANGE_BYTES = 1_000_000_000  # taken evenly from so much: no large corpus is read twice


def prepare_folder(
    source: Source,
    given: Tokenizer | None,
    directory: Path,
    settings: PrepareSettings,
    workers: int | None,
    stop: StopRequest,
) -> None:
    """Tokenizer, shards, manifest: each is whole before the next begins."""
    progress = claim(directory, settings)
    if (directory / TOKENIZER_NAME).exists():
        tokenizer = load_tokenizer(directory / TOKENIZER_NAME)
    else:
        chosen = _train_tokenizer(source, settings, stop) if given is None else given
        tokenizer = begin(directory, progress, chosen)
        stop.raise_if_made()
    if progress.tally.documents:
        console.talk(f"{directory}: going on after {progress.tally.documents:,} documents")
    encoder = _checked_encoder(source, tokenizer)
    preparation = ShardPreparation(directory, encoder, progress, workers)
    with _progress_of(source, "tokenizing", stop) as on_batch:
        progress = preparation.run(source.documents(), on_batch)
    if not count_split(progress.shards, "train")[0]:
        tally = progress.tally
        held_out, _ = count_split(progress.shards, "validation")
        raise DataError(
            f"no document of {source.name} is left to train on: of {tally.documents:,}, "
            f"{tally.duplicates:,} are duplicates, {tally.too_short:,} too short and {held_out:,} "
            "held out",
            hint="name more text, or hold out less with --validation-fraction",
        )
    manifest = _build_manifest(source, tokenizer, preparation, progress)
    save_manifest(directory, manifest)
    (directory / PROGRESS_NAME).unlink()
    show_report(directory, manifest, tokenizer, source.passed_over)
    if not preparation.knows_all_duplicates:
        console.warn(
            f"duplicates were looked for among the first {MAX_REMEMBERED:,} documents only",
            hint="drop duplicates beforehand if the rest may hold many",
        )


def _checked_encoder(source: Source, tokenizer: Tokenizer) -> TextEncoder:
    """An encoder that agrees with Hugging Face's on the first documents of the source."""
    encoder = TextEncoder(tokenizer)
    problem = "the fast engine cannot read this tokenizer"
    if encoder.is_fast:
        sample = next(group_texts(source.documents(), CHECKED_BYTES), [])
        problem = "the fast engine's ids differ from Hugging Face's on the first documents"
        if encoder.check(sample):
            return encoder
    console.warn(
        problem, hint="nothing is to be done: Hugging Face's engine is used, some 20 times slower"
    )
    return encoder


def _train_tokenizer(source: Source, settings: PrepareSettings, stop: StopRequest) -> Tokenizer:
    assert settings.vocab_size is not None
    assert settings.cased is not None
    is_measured = source.total_bytes() is not None  # what streams from the network is not
    range_bytes = SAMPLED_RANGE_BYTES if is_measured else SAMPLE_CHARS
    with _progress_of(source, "reading a sample", stop) as on_batch:
        texts = sample_texts(_first_documents(source, range_bytes, on_batch), SAMPLE_CHARS)
    size = sum(map(len, texts))
    console.talk(f"learning {settings.vocab_size:,} word pieces from {size:,} characters")
    vocab_size, cased = settings.vocab_size, settings.cased
    with console.progress("learning", None):
        return wait_for(lambda: train_tokenizer(texts, vocab_size, cased), stop)


def _first_documents(source: Source, num_bytes: int, on_batch: Callable[[], None]) -> Iterator[str]:
    """The documents in about the first `num_bytes` of text."""
    for texts in group_texts(source.documents(), BATCH_BYTES):
        yield from (text.decode() for text in texts)
        on_batch()
        if source.counts.text_bytes >= num_bytes:
            return


@contextmanager
def _progress_of(
    source: Source, description: str, stop: StopRequest
) -> Iterator[Callable[[], None]]:
    """A progress line for one reading of the source; each call draws it, and may stop there."""
    began = time.monotonic()
    with console.progress(description, source.total_bytes()) as line:

        def draw() -> None:
            stop.raise_if_made()
            megabytes = source.counts.text_bytes / 1e6
            rate = megabytes / (time.monotonic() - began)
            line.update(
                source.counts.disk_bytes_read, f"{megabytes:,.1f} MB of text, {rate:.1f} MB/s"
            )

        yield draw


def _build_manifest(
    source: Source, tokenizer: Tokenizer, preparation: ShardPreparation, progress: Progress
) -> ShardManifest:
    num_documents, num_tokens = count_split(progress.shards, "train")
    num_validation_documents, num_validation_tokens = count_split(progress.shards, "validation")
    return ShardManifest(
        format_version=FORMAT_VERSION,
        tokenizer_sha256=fingerprint(tokenizer),
        vocab_size=len(preparation.counts.ids),
        num_documents=num_documents,
        num_tokens=num_tokens,
        num_validation_documents=num_validation_documents,
        num_validation_tokens=num_validation_tokens,
        unigram_entropy=unigram_entropy(preparation.train_counts.ids),
        source_name=source.name,
        settings=progress.settings,
        shards=progress.shards,
        report=build_report(
            source.counts,
            progress.tally,
            preparation.counts,
            unknown_id=tokenizer.unk_token_id,
            begins_word=word_starts(tokenizer),
        ),
    )
