"""What `electra prepare` shows at its end: counts of the text, examples, and warnings."""

from collections.abc import Sequence
from pathlib import Path

from electra_cli import console
from electra_cli.data.manifest import ShardManifest, ShardRecord
from electra_cli.data.report import MAX_LOST_FRACTION, PreparationReport, TextCounts
from electra_cli.data.shards import map_shards
from electra_cli.data.tokenizer import Tokenizer
from electra_cli.preparing.rounds import MIN_DOCUMENT_TOKENS
from electra_cli.preparing.vocabulary import MAX_WORD_CHARS, MIN_FREQUENCY

EXAMPLE_TOKENS = 24
MAX_NAMED_PATHS = 3  # of the skipped ones
LONG_WORD = 20  # characters (of up to 3 bytes) per token; ordinary words are shorter on average
_LONG_WORDS_HINT = (
    f'BERT\'s tokenizers read no "word" of over {MAX_WORD_CHARS} characters: put blanks between '
    "the words, or bring a tokenizer made for such text with --tokenizer"
)
_SHOWN_IF_ANY = ("dropped: other columns", "dropped: beyond --max-bytes")


def show_report(
    directory: Path, manifest: ShardManifest, tokenizer: Tokenizer, skipped: Sequence[Path]
) -> None:
    """Show what was kept and dropped, what the tokens look like, and what may be wrong."""
    report = manifest.report
    text = report.text
    rows: list[tuple[str, int | None, int | None, int | None]] = [
        ("train", manifest.num_documents, None, manifest.num_tokens),
        ("held out", manifest.num_validation_documents, None, manifest.num_validation_tokens),
        ("kept in all", report.kept_documents, report.kept_bytes, report.num_tokens),
        ("dropped: exact duplicates", report.duplicates, report.duplicate_bytes, None),
        ("dropped: too short", report.too_short, report.too_short_bytes, report.too_short_tokens),
        ("dropped: empty", report.empty_documents, None, None),
        ("dropped: other columns", None, report.other_column_bytes, None),
        ("dropped: beyond --max-bytes", None, report.beyond_limit_bytes, None),
        ("separators and framing", None, report.separator_bytes, None),
        ("read", report.documents + report.empty_documents, report.bytes_read, None),
    ]
    console.table(
        f"prepared {directory}",
        ("", "documents", "bytes", "tokens"),
        [
            (name, *("" if number is None else f"{number:,}" for number in numbers))
            for name, *numbers in rows
            if any(numbers) or name not in _SHOWN_IF_ANY
        ],
    )
    if text.stripped_characters or text.removed_characters or text.unknown_characters:
        console.talk(
            f"lost of the {text.characters:,} kept characters: accents or vowel signs of "
            f"{text.stripped_characters:,} ({text.stripped_bytes:,} bytes); control or zero-width, "
            f"removed: {text.removed_characters:,} ({text.removed_bytes:,} bytes); "
            f"in [UNK]: {text.unknown_characters:,}"
        )
    if skipped:
        named = ", ".join(map(str, skipped[:MAX_NAMED_PATHS]))
        more = ", ..." if len(skipped) > MAX_NAMED_PATHS else ""
        console.talk(
            f"skipped {len(skipped):,} paths (empty, links to folders, unsupported type, other "
            "files of a dataset): "
            f"{named}{more}"
        )
    console.talk(
        f"tokens per document: {report.median_length:,} (median), {report.p95_length:,} (95%), "
        f"{report.longest:,} (longest)"
    )
    if report.split_documents:
        console.talk(f"{report.split_documents:,} documents were too long and split into several")
    console.talk(
        f"vocabulary {manifest.vocab_size:,}, {report.tokens_per_word:.2f} tokens per word, "
        f"[UNK]: {report.unknown_fraction:.3%} of the tokens, {text.unknown_fraction:.3%} of the "
        f"characters; unigram entropy {manifest.unigram_entropy:.3f} nats"
    )
    settings = manifest.settings
    if settings.vocab_size is not None and manifest.vocab_size < settings.vocab_size:
        console.talk(
            f"only {manifest.vocab_size:,} of the {settings.vocab_size:,} word pieces: the others "
            f"occur fewer than {settings.min_occurrences} times in the text"
            + (" (--vocab-size chooses)" if settings.min_occurrences > MIN_FREQUENCY else "")
        )
    if report.broken_lines:
        console.talk(
            f"{report.broken_lines:,} lines of broken text were read with replacement characters: "
            f"{report.broken_bytes:,} bytes became {report.broken_characters:,} U+FFFD, which made "
            f"the text {report.replacement_bytes:,} bytes longer"
        )
    _show_examples(directory, manifest, tokenizer)
    _show_warnings(manifest)


def _show_examples(directory: Path, manifest: ShardManifest, tokenizer: Tokenizer) -> None:
    """Show the first tokens of three documents, spread over the corpus."""
    console.talk("what the model will see:")
    shards = [shard for shard in manifest.shards if shard.split == "train"]
    last = manifest.num_documents - 1
    for document in sorted({0, last // 2, last}):
        console.talk(f"  {' '.join(_first_tokens(directory, shards, document, tokenizer))}")


def _first_tokens(
    directory: Path, shards: list[ShardRecord], document: int, tokenizer: Tokenizer
) -> list[str]:
    """The first tokens of a document; opens only its shard."""
    for shard in shards:
        if document < shard.num_documents:
            break
        document -= shard.num_documents
    part = map_shards(directory, [shard], "train")
    start, stop = part.offsets[document : document + 2].tolist()
    ids = part.read(start, min(stop, start + EXAMPLE_TOKENS)).tolist()
    tokens: list[str] = tokenizer.convert_ids_to_tokens(ids)
    return tokens


def _show_warnings(manifest: ShardManifest) -> None:
    """Warn of what does not stop prepare, but would harm training."""
    report, text = manifest.report, manifest.report.text
    is_learned = manifest.settings.tokenizer is None
    if report.worst_unknown_fraction > MAX_LOST_FRACTION:
        console.warn(
            f"{report.unknown_fraction:.1%} of the tokens are [UNK], which stand for "
            f"{text.unknown_fraction:.1%} of the characters: the vocabulary does not fit",
            hint=_unknown_hint(report, is_learned),
        )
    if report.too_short_fraction > MAX_LOST_FRACTION:
        console.warn(
            f"{report.too_short_fraction:.1%} of the text is dropped, in {report.too_short:,} "
            f"documents of fewer than {MIN_DOCUMENT_TOKENS} tokens",
            hint=_LONG_WORDS_HINT
            if report.too_short_bytes > report.too_short_tokens * 3 * LONG_WORD
            else "join short documents into longer ones",
        )
    if text.lost_fraction > MAX_LOST_FRACTION:
        console.warn(
            f"{text.lost_fraction:.1%} of the characters are changed or removed before they are "
            f"encoded: {text.stripped_characters:,} lose accents or vowel signs, "
            f"{text.removed_characters:,} are control or zero-width characters",
            hint=_lost_hint(text, is_learned),
        )
    if manifest.settings.validation_fraction and not manifest.num_validation_documents:
        console.warn(
            f"none of {report.kept_documents:,} documents is held out, so training will have "
            "nothing to evaluate on",
            hint="choose another folder and a larger --validation-fraction",
        )


def _unknown_hint(report: PreparationReport, is_learned: bool) -> str:
    num_unknown = report.unknown_fraction * report.num_tokens
    if report.text.unknown_characters > num_unknown * LONG_WORD:
        return _LONG_WORDS_HINT
    if not is_learned:
        return "leave out --tokenizer, so that one is learned from this text"
    return "choose another folder and a larger --vocab-size"


def _lost_hint(text: TextCounts, is_learned: bool) -> str:
    if not is_learned:
        return "that is how this --tokenizer works; without it, one is learned from this text"
    if text.stripped_characters >= text.removed_characters:
        return "choose another folder and --no-strip-accents (or --cased), which keeps them"
    return "BERT's tokenizers remove them; one that keeps them can be given with --tokenizer"
