"""A folder made by `electra prepare`, opened: its shards, its tokenizer, its windows."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

from electra_cli.config import PretrainConfig
from electra_cli.data.batches import TokenRoles, WindowReader
from electra_cli.data.manifest import (
    DATA_FOLDER,
    MANIFEST_NAME,
    TOKENIZER_NAME,
    ShardManifest,
    Split,
    damaged_file,
    load_manifest,
)
from electra_cli.data.replay import Replay
from electra_cli.data.shards import open_shards
from electra_cli.data.tokenizer import fingerprint, load_tokenizer, word_starts
from electra_cli.data.verified import verify_changed_shards
from electra_cli.disk import as_argument, check_utf8
from electra_cli.errors import DataError
from electra_cli.schedule import last_value


@dataclass(frozen=True)
class PreparedData:
    """A folder made by `electra prepare`, opened."""

    directory: Path
    manifest: ShardManifest
    token_roles: TokenRoles
    pad_id: int
    older: "PreparedData | None" = None  # what data.replay names
    _readers: dict[Split, tuple[object, WindowReader]] = field(default_factory=dict, repr=False)

    @property
    def tokenizer_directory(self) -> Path:
        """The tokenizer that the shards were made with."""
        return self.directory / TOKENIZER_NAME

    @property
    def sha256(self) -> str:
        """SHA-256 of the names and checksums of all shards, and of those of the older text."""
        checksums: list[object] = [(shard.name, shard.sha256) for shard in self.manifest.shards]
        if self.older is not None:
            checksums.append(self.older.sha256)
        return hashlib.sha256(json.dumps(checksums).encode()).hexdigest()

    def replay(self, config: PretrainConfig) -> Replay | None:
        """Windows of the older text for training; its documents are numbered after the others."""
        if self.older is None:
            return None
        reader = self.older.reader("train", config, first_document=self.manifest.num_documents)
        return Replay(reader, config.data.replay_share)

    def reader(self, split: Split, config: PretrainConfig, first_document: int = 0) -> WindowReader:
        """Windows of one split, cut as `config` says.

        Equal settings give the same reader again, since cutting a billion tokens takes seconds.
        """
        # Held-out text is always masked alike; training may begin with another share.
        mask_fraction = last_value(config.objective.mask_fraction)
        settings = (config.data, mask_fraction, config.run.seed, first_document)
        known, reader = self._readers.get(split, (None, None))
        if reader is None or known != settings:
            shards = open_shards(self.directory, self.manifest, split)
            reader = WindowReader(shards, self.token_roles, *settings)
            self._readers[split] = (settings, reader)
        return reader


def prepared_folders() -> list[Path]:
    """Finished folders under data/."""
    return sorted(path.parent for path in DATA_FOLDER.glob(f"*/{MANIFEST_NAME}"))


def find_data(directory: Path | None) -> Path:
    """`directory`, or the only prepared folder under data/.

    Raises DataError if none is named and there is not exactly one.
    """
    if directory is not None:
        return directory
    prepared = prepared_folders()
    if not prepared:
        raise DataError(
            f"there is no prepared data under {DATA_FOLDER}/", hint="electra prepare [SOURCE]..."
        )
    if len(prepared) > 1:
        listed = ", ".join(str(path) for path in prepared)
        raise DataError(
            f"there are several prepared folders: {listed}", hint="name one: --data DIR"
        )
    return prepared[0]


def open_training_data(
    config: PretrainConfig, verify_all: bool = False, verifies: bool = True
) -> PreparedData:
    """The data of a run, with its older text. Raises DataError as open_data does.

    Also where ids mean something else in the older text.
    """
    assert config.data.directory is not None
    data = open_data(config.data.directory, verify_all, verifies)
    if config.data.replay_directory is None:
        return data
    older = open_data(config.data.replay_directory, verify_all, verifies)
    found, wanted = older.manifest.tokenizer_sha256, data.manifest.tokenizer_sha256
    if found != wanted:
        raise DataError(
            f"{older.directory} was prepared with tokenizer {found[:12]}, {data.directory} with "
            f"{wanted[:12]}",
            hint="prepare the older text again: electra prepare SOURCE --tokenizer "
            f"{as_argument(data.tokenizer_directory)} --out NEW_DIR",
        )
    return replace(data, older=older)


def open_data(directory: Path, verify_all: bool = False, verifies: bool = True) -> PreparedData:
    """Open a prepared folder. Raises DataError if it is unfinished, damaged or inconsistent.

    Compares checksums: of shards that changed since the last time, or of all; none where another
    process `verifies` them.
    """
    check_utf8(str(directory))
    manifest = load_manifest(directory)
    if verifies:
        verify_changed_shards(directory, manifest, verify_all)
    if not (directory / TOKENIZER_NAME).is_dir():
        raise damaged_file(directory / TOKENIZER_NAME, "it is missing")
    tokenizer = load_tokenizer(directory / TOKENIZER_NAME)
    found = fingerprint(tokenizer)
    if found != manifest.tokenizer_sha256:
        raise DataError(
            f"{directory / TOKENIZER_NAME} has fingerprint {found[:12]}, the shards were made with "
            f"{manifest.tokenizer_sha256[:12]}",
            hint="put the right tokenizer back, or prepare the data again with --out NEW_DIR",
        )
    token_roles = TokenRoles(
        cls_id=tokenizer.cls_token_id,
        sep_id=tokenizer.sep_token_id,
        mask_id=tokenizer.mask_token_id,
        begins_word=word_starts(tokenizer),
    )
    return PreparedData(directory, manifest, token_roles, tokenizer.pad_token_id)
