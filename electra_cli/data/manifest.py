"""The manifest of a prepared folder: the shards in it, how they were made, what they hold.

It is the last file that `electra prepare` writes: a folder that has one is complete.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from electra_cli.data.report import PreparationReport
from electra_cli.disk import as_argument, write_bytes_atomically
from electra_cli.errors import DataError

FORMAT_VERSION = 1
DATA_FOLDER = Path("data")  # of the current folder
MANIFEST_NAME = "manifest.json"
PROGRESS_NAME = "progress.json"
TOKENIZER_NAME = "tokenizer"
NEW_TOKENS_NAME = "new_tokens.json"  # beside a tokenizer that was extended

Split = Literal["train", "validation"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PrepareSettings(_Frozen):
    """All that decides the content of a folder: equal settings give equal shards."""

    source: str  # fingerprint
    tokenizer: str | None  # fingerprint; None where one is trained
    vocab_size: int | None  # of the tokenizer to train, as cased
    cased: bool | None
    strip_accents: bool | None = None  # None: where not cased, as in BERT
    min_occurrences: int = 2  # of a word piece in the text
    add_tokens: int = 0  # at most so many, to the given tokenizer
    pad_vocab_to: int | None = None  # a multiple of so many ids
    validation_fraction: float
    shard_tokens: int


class ShardRecord(_Frozen):
    """One shard, as the manifest lists it."""

    # No path: a manifest from elsewhere can never name a file outside its folder.
    name: str = Field(pattern=r"^(train|validation)-\d{5,}\.arrow$")
    split: Split
    num_documents: int = Field(ge=1)
    num_tokens: int = Field(ge=1)
    num_bytes: int = Field(ge=1)
    sha256: str


class ShardManifest(_Frozen):
    """What a finished folder holds. num_documents and num_tokens are of the train split."""

    format_version: int
    tokenizer_sha256: str
    vocab_size: int
    num_documents: int
    num_tokens: int
    num_validation_documents: int
    num_validation_tokens: int
    unigram_entropy: float  # nats per token of train: the loss of a model that sees no context
    source_name: str
    settings: PrepareSettings
    shards: tuple[ShardRecord, ...]
    report: PreparationReport

    @model_validator(mode="after")
    def _counts_add_up(self) -> "ShardManifest":
        counts = (*count_split(self.shards, "train"), *count_split(self.shards, "validation"))
        stated = (self.num_documents, self.num_tokens)
        held_out = (self.num_validation_documents, self.num_validation_tokens)
        if counts != stated + held_out:
            raise ValueError(f"shards hold {counts}, the totals say {stated + held_out}")
        return self


def count_split(shards: Iterable[ShardRecord], split: Split) -> tuple[int, int]:
    """Documents and tokens of a split."""
    chosen = [shard for shard in shards if shard.split == split]
    return sum(s.num_documents for s in chosen), sum(s.num_tokens for s in chosen)


def save_manifest(directory: Path, manifest: ShardManifest) -> None:
    """Write the manifest. It is the last file: a folder that has one is complete."""
    content = manifest.model_dump_json(indent=1).encode()
    write_bytes_atomically(directory / MANIFEST_NAME, content)


def _not_prepared(directory: Path) -> DataError:
    """The DataError for a folder without manifest; it names the one that was probably meant."""
    near = (DATA_FOLDER / directory.name, *directory.parents, *sorted(directory.glob("*")))
    meant = next((path for path in near if (path / MANIFEST_NAME).is_file()), None)
    problem = f"there is no folder {directory}"
    if directory.exists():
        what = f"it has no {MANIFEST_NAME}" if directory.is_dir() else "it is a file"
        problem = f"{directory} is not a prepared folder: {what}"
    source = as_argument(directory) if directory.is_file() else "SOURCE"
    make_one = f"make one with: electra prepare {source} --out DIR"
    return DataError(problem, hint=f"did you mean {as_argument(meant)}?" if meant else make_one)


def load_manifest(directory: Path) -> ShardManifest:
    """Read what a finished folder holds.

    Raises DataError if the folder is missing, was not made by this program, is unfinished or
    damaged, or has a newer format.
    """
    path = directory / MANIFEST_NAME
    if not path.is_file():
        if (directory / PROGRESS_NAME).exists():
            raise DataError(
                f"{directory} is unfinished: electra prepare was interrupted",
                hint="run the same electra prepare command again; it goes on where it stopped",
            )
        raise _not_prepared(directory)
    try:
        content = json.loads(path.read_bytes())
        version = int(content["format_version"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise damaged_file(path, f"{type(error).__name__}: {error}") from error
    if version > FORMAT_VERSION:
        raise DataError(
            f"{directory} has format {version}, this program knows formats up to {FORMAT_VERSION}",
            hint="install a newer electra-cli, or prepare the source again into a new folder",
        )
    try:
        return ShardManifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise damaged_file(path, f"{where} {first['msg']}".strip()) from error


def save_new_tokens(directory: Path, pieces: Mapping[int, Sequence[int]]) -> None:
    """Write the ids that a given tokenizer gained, and the old ids that each stands for."""
    content = json.dumps({str(index): list(ids) for index, ids in pieces.items()}).encode()
    write_bytes_atomically(directory / NEW_TOKENS_NAME, content)


def load_new_tokens(directory: Path) -> dict[int, tuple[int, ...]]:
    """What save_new_tokens wrote; empty without a file. Raises DataError for a damaged one."""
    path = directory / NEW_TOKENS_NAME
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_bytes())
        found = {int(index): tuple(map(int, ids)) for index, ids in content.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise damaged_file(path, f"{type(error).__name__}: {error}") from error
    first = min(found, default=0)
    if sorted(found) != list(range(first, first + len(found))) or not all(
        0 <= piece < first for ids in found.values() for piece in ids
    ):
        raise damaged_file(path, "its ids are not those of new tokens")
    return found


def damaged_file(path: Path, reason: str) -> DataError:
    """The DataError for a file of a prepared folder."""
    return DataError(
        f"{path} is damaged: {reason}",
        hint="copy the folder again, or prepare the source again with another --out",
    )
