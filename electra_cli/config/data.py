"""What is read, and how it is cut: the section data."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from electra_cli.config.section import MAX_TOKENS, Changeable, NotSearched, Section, as_utf8


class DataConfig(Section):
    """What is read, and how it is cut."""

    directory: Annotated[
        Path | None, Changeable(), NotSearched("all trials read the same text")
    ] = Field(
        None, description="Folder made by `electra prepare`; null takes the only one under data/."
    )
    max_seq_length: int = Field(
        512, ge=8, le=MAX_TOKENS, description="Longest window in tokens, [CLS] and [SEP] included."
    )
    single_segment_fraction: float = Field(
        0.1, ge=0, le=1, description="Share of windows with one segment instead of two."
    )
    short_window_fraction: float = Field(
        0.05, ge=0, le=1, description="Share of windows cut shorter than they could be."
    )

    @field_validator("directory")
    @classmethod
    def _is_a_path(cls, value: Path | None) -> Path | None:
        """Refuse what YAML can spell, but neither a file system nor the saved settings can hold."""
        if value is not None and ("\0" in str(value) or str(value) != as_utf8(str(value))):
            raise ValueError("Input should be a path in UTF-8")
        return value
