"""What is read, and how it is cut: the section data."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from electra_cli.config.section import MAX_TOKENS, Changeable, NotSearched, Section, as_utf8

_ONE_TEXT = NotSearched("all trials read the same text")


class DataConfig(Section):
    """What is read, and how it is cut."""

    directory: Annotated[Path | None, Changeable(), _ONE_TEXT] = Field(
        None, description="Folder made by `electra prepare`; null takes the only one under data/."
    )
    replay: Annotated[str | None, Changeable(), _ONE_TEXT] = Field(  # the share may not
        None,
        description="Older text against forgetting, as DIR:SHARE: so large a share of the windows "
        "comes from that folder.",
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

    @property
    def replay_share(self) -> Fraction:
        """Share of the windows that come from older text."""
        return Fraction(self.replay.rpartition(":")[2]) if self.replay else Fraction(0)

    @property
    def replay_directory(self) -> Path | None:
        """Folder of the older text."""
        return Path(self.replay.rpartition(":")[0]) if self.replay else None

    @field_validator("replay")
    @classmethod
    def _is_a_path_and_a_share(cls, value: str | None) -> str | None:
        if value is None:
            return None
        directory, _, share = value.rpartition(":")
        is_share = re.fullmatch(r"0?\.\d{1,9}", share) is not None
        if not directory or not is_share or not Fraction(share):
            raise ValueError("Input should be DIR:SHARE with a share between 0 and 1, as old:0.1")
        cls._is_a_path(Path(directory))
        return value

    @field_validator("directory")
    @classmethod
    def _is_a_path(cls, value: Path | None) -> Path | None:
        """Refuse what YAML can spell, but neither a file system nor the saved settings can hold."""
        if value is not None and ("\0" in str(value) or str(value) != as_utf8(str(value))):
            raise ValueError("Input should be a path in UTF-8")
        return value
