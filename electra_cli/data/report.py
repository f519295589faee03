"""The report in a manifest: what was kept and dropped, and how long documents are."""

from pydantic import BaseModel, ConfigDict

MAX_LOST_FRACTION = 0.01  # of the text; above it, a user should know


class TextCounts(BaseModel):
    """Characters of the kept documents, blanks apart, and what the tokenizer loses of them.

    Bytes are those of the characters in the source (UTF-8).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    characters: int = 0
    stripped_characters: int = 0  # lose their accents or vowel signs
    stripped_bytes: int = 0
    removed_characters: int = 0  # vanish: control characters, zero-width joiners
    removed_bytes: int = 0
    encoded_characters: int = 0  # which normalisation makes of `characters`
    unknown_characters: int = 0  # of the encoded ones, in [UNK] or in no token

    def __add__(self, other: "TextCounts") -> "TextCounts":
        return TextCounts(**{name: value + getattr(other, name) for name, value in self})

    @property
    def lost_fraction(self) -> float:
        """Share of the characters that normalisation strips or removes."""
        return (self.stripped_characters + self.removed_characters) / max(1, self.characters)

    @property
    def unknown_fraction(self) -> float:
        """Share of the encoded characters that are in [UNK]."""
        return self.unknown_characters / max(1, self.encoded_characters)


class PreparationReport(BaseModel):
    """Counts of a whole preparation. Bytes are UTF-8, lengths are tokens per document.

    bytes_read + replacement_bytes == kept_bytes + duplicate_bytes + too_short_bytes +
    separator_bytes + other_column_bytes + beyond_limit_bytes. Fields with a default were not
    counted by earlier versions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: int
    bytes_read: int
    separator_bytes: int
    other_column_bytes: int = 0  # older manifests count these two among the separators
    beyond_limit_bytes: int = 0
    replacement_bytes: int
    broken_bytes: int = 0  # replaced by U+FFFD
    broken_characters: int = 0  # U+FFFD in their place
    empty_documents: int
    split_documents: int
    broken_lines: int

    documents: int
    kept_bytes: int
    duplicates: int
    duplicate_bytes: int
    too_short: int
    too_short_bytes: int
    too_short_tokens: int = 0
    text: TextCounts = TextCounts()

    num_tokens: int
    unknown_fraction: float  # of the tokens
    tokens_per_word: float
    median_length: int
    p95_length: int
    longest: int

    @property
    def kept_documents(self) -> int:
        """Documents of both splits."""
        return self.documents - self.duplicates - self.too_short

    @property
    def worst_unknown_fraction(self) -> float:
        """[UNK]'s share of the tokens or of the text: one [UNK] may stand for much of it."""
        return max(self.unknown_fraction, self.text.unknown_fraction)

    @property
    def too_short_fraction(self) -> float:
        """Share of the text, by bytes or by tokens, in documents that are too short."""
        return max(
            self.too_short_bytes / max(1, self.too_short_bytes + self.kept_bytes),
            self.too_short_tokens / max(1, self.too_short_tokens + self.num_tokens),
        )
