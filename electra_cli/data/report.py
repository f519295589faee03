"""The report in a manifest: what was kept and dropped, and how long documents are."""

from pydantic import BaseModel, ConfigDict

MAX_UNKNOWN_FRACTION = 0.01  # of the tokens; above it the tokenizer does not fit the text


class PreparationReport(BaseModel):
    """Counts of a whole preparation. Bytes are UTF-8, lengths are tokens per document.

    bytes_read + replacement_bytes == kept_bytes + duplicate_bytes + too_short_bytes +
    separator_bytes + other_column_bytes + beyond_limit_bytes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: int
    bytes_read: int
    separator_bytes: int
    other_column_bytes: int = 0  # older manifests count these two among the separators
    beyond_limit_bytes: int = 0
    replacement_bytes: int
    empty_documents: int
    split_documents: int
    broken_lines: int

    documents: int
    kept_bytes: int
    duplicates: int
    duplicate_bytes: int
    too_short: int
    too_short_bytes: int

    num_tokens: int
    unknown_fraction: float
    tokens_per_word: float
    median_length: int
    p95_length: int
    longest: int

    @property
    def kept_documents(self) -> int:
        """Documents of both splits."""
        return self.documents - self.duplicates - self.too_short
