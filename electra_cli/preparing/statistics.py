"""Count what becomes of documents and tokens while they are prepared, and report it."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from electra_cli.data.report import PreparationReport, TextCounts
from electra_cli.preparing.source import SourceCounts


class Tally(BaseModel):
    """How many documents were kept and dropped so far; saved in progress.json."""

    model_config = ConfigDict(extra="forbid")

    documents: int = 0
    kept_bytes: int = 0
    duplicates: int = 0
    duplicate_bytes: int = 0
    too_short: int = 0
    too_short_bytes: int = 0
    too_short_tokens: int = 0
    text: TextCounts = TextCounts()


class TokenCounts:
    """How often each id and each document length occurs; added shard by shard.

    Its memory does not grow with the number of documents.
    """

    def __init__(self, vocab_size: int) -> None:
        self.ids: NDArray[np.int64] = np.zeros(vocab_size, dtype=np.int64)
        self.lengths: Counter[int] = Counter()

    def add(self, id_counts: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
        """Add one shard: id_counts [V], and the tokens of each of its documents [D]."""
        self.ids += id_counts
        values, counts = np.unique(lengths, return_counts=True)
        self.lengths.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))

    def length_at(self, fraction: float) -> int:
        """The smallest length that this fraction of the documents does not exceed."""
        reached = 0
        wanted = fraction * self.lengths.total()
        for length in sorted(self.lengths):
            reached += self.lengths[length]
            if reached >= wanted:
                return length
        return 0


def build_report(
    source: SourceCounts,
    tally: Tally,
    tokens: TokenCounts,
    unknown_id: int | None,
    begins_word: NDArray[np.bool_],
) -> PreparationReport:
    """`tokens` counts both splits; begins_word [V]."""
    num_tokens = int(tokens.ids.sum())
    num_unknown = 0 if unknown_id is None else int(tokens.ids[unknown_id])
    num_words = int(tokens.ids[begins_word].sum())
    return PreparationReport(
        files=source.files,
        bytes_read=source.bytes_read,
        separator_bytes=source.separator_bytes,
        other_column_bytes=source.other_column_bytes,
        beyond_limit_bytes=source.beyond_limit_bytes,
        replacement_bytes=source.replacement_bytes,
        broken_bytes=source.broken_bytes,
        broken_characters=source.broken_characters,
        empty_documents=source.empty_documents,
        split_documents=source.split_documents,
        broken_lines=source.broken_lines,
        **tally.model_dump(),
        num_tokens=num_tokens,
        unknown_fraction=num_unknown / num_tokens,
        tokens_per_word=num_tokens / max(1, num_words),
        median_length=tokens.length_at(0.5),
        p95_length=tokens.length_at(0.95),
        longest=tokens.length_at(1.0),
    )


def unigram_entropy(id_counts: NDArray[np.int64]) -> float:
    """id_counts [V] -> nats per token: the loss of a model that sees no context."""
    seen = id_counts[id_counts > 0]
    fractions = seen / seen.sum()
    return float(-(fractions * np.log(fractions)).sum())
