"""From a source to a folder of token shards: tokenizer, shards, manifest, one after another.

Whether the folder may be written is folder.py's work.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from electra_cli import console
from electra_cli.data.manifest import (
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
from electra_cli.live import progress_line
from electra_cli.preparing.chunks import group_texts
from electra_cli.preparing.duplicates import MAX_REMEMBERED
from electra_cli.preparing.encoder import TextEncoder
from electra_cli.preparing.folder import begin_folder, load_folder_state
from electra_cli.preparing.new_words import COUNTED_CHARS, extend_tokenizer
from electra_cli.preparing.rounds import BATCH_BYTES, ShardPreparation
from electra_cli.preparing.source import Source
from electra_cli.preparing.state import PreparationState
from electra_cli.preparing.statistics import build_report, unigram_entropy
from electra_cli.preparing.summary import show_report
from electra_cli.preparing.vocabulary import MIN_FREQUENCY, sample_texts, train_tokenizer
from electra_cli.stopping import StopRequest, wait_for

SAMPLE_CHARS = 64_000_000  # of text that a tokenizer is trained on
# The sample is spread over this much text of files, so that no large corpus is read twice.
SAMPLED_RANGE_BYTES = 1_000_000_000
_NAMED_TOKENS = 8  # of the new ones
CHECKED_BYTES = 300_000  # of every source: both engines encode them and must agree


def prepare_folder(
    source: Source,
    given: Tokenizer | None,
    directory: Path,
    settings: PrepareSettings,
    workers: int | None,
    stop: StopRequest,
) -> None:
    """Write what the folder lacks: tokenizer, shards, manifest. Each is complete before the next.

    `given` is the tokenizer to use; None trains one. Raises DataError where no document is left to
    train on, KeyboardInterrupt at a safe point after a stop was requested.
    """
    state = load_folder_state(directory, settings)
    if (directory / TOKENIZER_NAME).exists():
        tokenizer = load_tokenizer(directory / TOKENIZER_NAME)
    else:
        chosen = _train_tokenizer(source, settings, stop) if given is None else given
        pieces: dict[int, list[int]] = {}
        if settings.add_tokens or settings.pad_vocab_to:
            chosen, pieces = _extend(chosen, source, settings, stop)
        tokenizer = begin_folder(directory, state, chosen, pieces)
        stop.raise_if_requested()
    if state.tally.documents:
        console.talk(f"{directory}: going on after {state.tally.documents:,} documents")
    encoder = _open_encoder(source, tokenizer)
    preparation = ShardPreparation(directory, encoder, state, workers)
    with _show_progress(source, "tokenizing", stop) as on_batch:
        state = preparation.write_rounds(source.documents(), on_batch)
    _warn_of_change(source, settings)
    if not count_split(state.shards, "train")[0]:
        raise _nothing_to_train_on(source, state)
    manifest = _build_manifest(source, tokenizer, encoder, preparation, state)
    save_manifest(directory, manifest)
    (directory / PROGRESS_NAME).unlink()
    show_report(directory, manifest, tokenizer, source.skipped)
    if not preparation.knows_all_duplicates:
        console.warn(
            f"only the first {MAX_REMEMBERED:,} documents were checked for duplicates",
            hint="remove duplicates beforehand if the rest may hold many",
        )


def _warn_of_change(source: Source, settings: PrepareSettings) -> None:
    with suppress(OSError):  # a file was removed meanwhile
        if source.fingerprint() == settings.source:
            return
    console.warn(
        "the source changed while it was read: some of the text may be old, twice or missing",
        hint="prepare it again, with another --out, when nothing writes to it",
    )


def _nothing_to_train_on(source: Source, state: PreparationState) -> DataError:
    tally = state.tally
    held_out, _ = count_split(state.shards, "validation")
    return DataError(
        f"no document of {source.name} is left to train on: of {tally.documents:,}, "
        f"{tally.duplicates:,} are duplicates, {tally.too_short:,} too short and {held_out:,} "
        "held out",
        hint="name more text, or hold out less with --validation-fraction",
    )


def _open_encoder(source: Source, tokenizer: Tokenizer) -> TextEncoder:
    """An encoder that agrees with Hugging Face tokenizers on the first documents of the source."""
    encoder = TextEncoder(tokenizer)
    if encoder.is_fast:
        encoder.check_fast_engine(next(group_texts(source.documents(), CHECKED_BYTES), []))
    if encoder.why_slow is not None:
        console.warn(
            f"{encoder.why_slow}; falling back to Hugging Face tokenizers (about 20x slower)",
            hint=encoder.why_slow.hint,
        )
    return encoder


def _train_tokenizer(source: Source, settings: PrepareSettings, stop: StopRequest) -> Tokenizer:
    assert settings.vocab_size is not None
    assert settings.cased is not None
    # Streams from the network have no known size; reading more of them than the sample is slow.
    range_bytes = SAMPLE_CHARS if source.total_bytes() is None else SAMPLED_RANGE_BYTES
    with _show_progress(source, "reading a sample", stop) as on_batch:
        texts = sample_texts(_first_documents(source, range_bytes, on_batch), SAMPLE_CHARS)
    vocab_size, cased, strip_accents = settings.vocab_size, settings.cased, settings.strip_accents
    size = sum(map(len, texts))
    console.talk(f"learning at most {vocab_size:,} word pieces from {size:,} characters")
    sampled_fraction = sum(len(text.encode()) for text in texts) / _text_bytes(source, range_bytes)
    min_frequency = max(MIN_FREQUENCY, round(settings.min_occurrences * sampled_fraction))
    with progress_line("learning", None):
        return wait_for(
            lambda: train_tokenizer(texts, vocab_size, cased, strip_accents, min_frequency), stop
        )


def _extend(
    tokenizer: Tokenizer, source: Source, settings: PrepareSettings, stop: StopRequest
) -> tuple[Tokenizer, dict[int, list[int]]]:
    """The tokenizer with more tokens, and the old ids in the place of each new one."""
    texts, min_frequency = [], settings.min_occurrences
    if settings.add_tokens:
        is_stream = source.total_bytes() is None
        range_bytes = COUNTED_CHARS if is_stream else SAMPLED_RANGE_BYTES
        with _show_progress(source, "reading a sample", stop) as on_batch:
            texts = sample_texts(_first_documents(source, range_bytes, on_batch), COUNTED_CHARS)
        share = sum(len(text.encode()) for text in texts) / _text_bytes(source, range_bytes)
        min_frequency = max(MIN_FREQUENCY, round(settings.min_occurrences * share))
    with progress_line("learning", None):
        extension = wait_for(
            lambda: extend_tokenizer(
                tokenizer, texts, settings.add_tokens, min_frequency, settings.pad_vocab_to
            ),
            stop,
        )
    if settings.add_tokens:
        words = [index for index, pieces in extension.pieces.items() if pieces]
        named = ", ".join(extension.tokenizer.convert_ids_to_tokens(words[:_NAMED_TOKENS]))
        before, after = extension.tokens_per_word
        console.talk(
            f"{len(words):,} new tokens of at most {settings.add_tokens:,}, which occur "
            f"{settings.min_occurrences} times or more: {named}, ...; {before:.2f} tokens per word "
            f"before, {after:.2f} now"
        )
    return extension.tokenizer, extension.pieces


def _text_bytes(source: Source, num_bytes: int) -> float:
    """About how much text the source has, after its first `num_bytes` were read."""
    counts = source.counts
    if counts.text_bytes < num_bytes:
        return counts.text_bytes
    total = source.total_bytes()
    return math.inf if total is None else counts.text_bytes * total / counts.disk_bytes_read


def _first_documents(source: Source, num_bytes: int, on_batch: Callable[[], None]) -> Iterator[str]:
    """The documents in about the first `num_bytes` of text."""
    for texts in group_texts(source.documents(), BATCH_BYTES):
        yield from (text.decode() for text in texts)
        on_batch()
        if source.counts.text_bytes >= num_bytes:
            return


@contextmanager
def _show_progress(
    source: Source, description: str, stop: StopRequest
) -> Iterator[Callable[[], None]]:
    """A progress line for one reading of the source.

    Yields a function that draws it, and raises KeyboardInterrupt after a stop was requested.
    """
    start = time.monotonic()
    with progress_line(description, source.total_bytes()) as line:

        def draw() -> None:
            stop.raise_if_requested()
            megabytes = source.counts.text_bytes / 1e6
            rate = megabytes / (time.monotonic() - start)
            line.update(
                source.counts.disk_bytes_read, f"{megabytes:,.1f} MB of text, {rate:.1f} MB/s"
            )

        yield draw


def _build_manifest(
    source: Source,
    tokenizer: Tokenizer,
    encoder: TextEncoder,
    preparation: ShardPreparation,
    state: PreparationState,
) -> ShardManifest:
    num_documents, num_tokens = count_split(state.shards, "train")
    num_validation_documents, num_validation_tokens = count_split(state.shards, "validation")
    text = encoder.lost_text.with_unknown(state.tally.text, preparation.counts.ids)
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
        settings=state.settings,
        shards=state.shards,
        report=build_report(
            source.counts,
            state.tally.model_copy(update={"text": text}),
            preparation.counts,
            unknown_id=tokenizer.unk_token_id,
            begins_word=word_starts(tokenizer),
        ),
    )
