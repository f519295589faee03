"""What `electra prepare` says at its end: the account of the text, examples, and warnings."""

from collections.abc import Sequence
from pathlib import Path

from electra_cli import console
from electra_cli.data.report import MAX_UNKNOWN_FRACTION
from electra_cli.data.shards import ShardManifest, ShardRecord, map_shards
from electra_cli.data.tokenizer import Tokenizer

EXAMPLE_TOKENS = 24
NAMED_FILES = 3  # of those that were passed over


def show_report(
    directory: Path, manifest: ShardManifest, tokenizer: Tokenizer, passed_over: Sequence[Path]
) -> None:
    """Talk of it: what was kept and dropped, what tokens look like, what to look into."""
    report = manifest.report
    rows = [
        ("train", manifest.num_documents, None, manifest.num_tokens),
        ("held out", manifest.num_validation_documents, None, manifest.num_validation_tokens),
        ("kept in all", report.kept_documents, report.kept_bytes, report.num_tokens),
        ("dropped: exact duplicates", report.duplicates, report.duplicate_bytes, None),
        ("dropped: too short", report.too_short, report.too_short_bytes, None),
        ("dropped: empty", report.empty_documents, None, None),
        ("separators and framing", None, report.separator_bytes, None),
        ("read", report.documents + report.empty_documents, report.bytes_read, None),
    ]
    console.table(
        f"prepared {directory}",
        ("", "documents", "bytes", "tokens"),
        [(name, *("" if n is None else f"{n:,}" for n in numbers)) for name, *numbers in rows],
    )
    if passed_over:
        named = ", ".join(map(str, passed_over[:NAMED_FILES]))
        console.talk(
            f"passed over {len(passed_over):,} beside them that are empty, links to folders or of "
            f"another kind: {named}{', ...' if len(passed_over) > NAMED_FILES else ''}"
        )
    console.talk(
        f"a document has {report.median_length:,} tokens (median), {report.p95_length:,} (95%), "
        f"{report.longest:,} (longest)"
    )
    if report.split_documents:
        console.talk(f"{report.split_documents:,} documents were too long and split into several")
    console.talk(
        f"vocabulary {manifest.vocab_size:,}, {report.tokens_per_word:.2f} tokens a word, "
        f"{report.unknown_fraction:.3%} [UNK], unigram entropy {manifest.unigram_entropy:.3f} nats"
    )
    asked = manifest.settings.vocab_size
    if asked is not None and manifest.vocab_size < asked:
        console.talk(f"{asked:,} were asked for, but no other pieces occur often enough to learn")
    if report.broken_lines:
        console.talk(
            f"{report.broken_lines:,} lines of broken text were read with replacement characters, "
            f"which made them {report.replacement_bytes:,} bytes longer"
        )
    _show_examples(directory, manifest, tokenizer)
    _warn(manifest)


def _show_examples(directory: Path, manifest: ShardManifest, tokenizer: Tokenizer) -> None:
    """The beginnings of three documents spread over the corpus, as the model sees them."""
    console.talk("what the model will see:")
    shards = [shard for shard in manifest.shards if shard.split == "train"]
    last = manifest.num_documents - 1
    for document in sorted({0, last // 2, last}):
        console.talk(f"  {' '.join(_beginning(directory, shards, document, tokenizer))}")


def _beginning(
    directory: Path, shards: list[ShardRecord], document: int, tokenizer: Tokenizer
) -> list[str]:
    """The first tokens of a document; opens its shard alone."""
    for shard in shards:
        if document < shard.num_documents:
            break
        document -= shard.num_documents
    part = map_shards(directory, [shard], "train")
    start, stop = part.offsets[document : document + 2].tolist()
    ids = part.read(start, min(stop, start + EXAMPLE_TOKENS)).tolist()
    tokens: list[str] = tokenizer.convert_ids_to_tokens(ids)
    return tokens


def _warn(manifest: ShardManifest) -> None:
    """What stops nothing, but would spoil the training."""
    report = manifest.report
    if report.unknown_fraction > MAX_UNKNOWN_FRACTION:
        console.warn(
            f"{report.unknown_fraction:.1%} of the tokens are [UNK]: the vocabulary does not fit",
            hint='choose another folder and a larger --vocab-size ("words" of over 100 characters '
            "are [UNK] with any)"
            if manifest.settings.tokenizer is None
            else "leave out --tokenizer, so that one is learned from this text",
        )
    if manifest.settings.validation_fraction and not manifest.num_validation_documents:
        console.warn(
            f"none of {report.kept_documents:,} documents fell into the held-out part, so training "
            "will have nothing to evaluate on",
            hint="choose another folder and a larger --validation-fraction",
        )
