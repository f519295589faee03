"""What `electra prepare` shows at its end: counts of the text, examples, and warnings."""

from collections.abc import Sequence
from pathlib import Path

from electra_cli import console
from electra_cli.data.manifest import ShardManifest, ShardRecord
from electra_cli.data.report import MAX_UNKNOWN_FRACTION
from electra_cli.data.shards import map_shards
from electra_cli.data.tokenizer import Tokenizer

EXAMPLE_TOKENS = 24
_SHOWN_IF_ANY = ("dropped: other columns", "dropped: beyond --max-bytes")
MAX_NAMED_PATHS = 3  # of the skipped ones


def show_report(
    directory: Path, manifest: ShardManifest, tokenizer: Tokenizer, skipped: Sequence[Path]
) -> None:
    """Show what was kept and dropped, what the tokens look like, and what may be wrong."""
    report = manifest.report
    rows: list[tuple[str, int | None, int | None, int | None]] = [
        ("train", manifest.num_documents, None, manifest.num_tokens),
        ("held out", manifest.num_validation_documents, None, manifest.num_validation_tokens),
        ("kept in all", report.kept_documents, report.kept_bytes, report.num_tokens),
        ("dropped: exact duplicates", report.duplicates, report.duplicate_bytes, None),
        ("dropped: too short", report.too_short, report.too_short_bytes, None),
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
        f"{report.unknown_fraction:.3%} [UNK], unigram entropy {manifest.unigram_entropy:.3f} nats"
    )
    requested = manifest.settings.vocab_size
    if requested is not None and manifest.vocab_size < requested:
        console.talk(
            f"only {manifest.vocab_size:,} of the {requested:,} requested word pieces occur often "
            "enough"
        )
    if report.broken_lines:
        console.talk(
            f"{report.broken_lines:,} lines of broken text were read with replacement characters, "
            f"which made them {report.replacement_bytes:,} bytes longer"
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
    report = manifest.report
    if report.unknown_fraction > MAX_UNKNOWN_FRACTION:
        console.warn(
            f"{report.unknown_fraction:.1%} of the tokens are [UNK]: the vocabulary does not fit",
            hint="choose another folder and a larger --vocab-size (any vocabulary gives [UNK] for "
            '"words" of over 100 characters)'
            if manifest.settings.tokenizer is None
            else "leave out --tokenizer, so that one is learned from this text",
        )
    if manifest.settings.validation_fraction and not manifest.num_validation_documents:
        console.warn(
            f"none of {report.kept_documents:,} documents is held out, so training will have "
            "nothing to evaluate on",
            hint="choose another folder and a larger --validation-fraction",
        )
