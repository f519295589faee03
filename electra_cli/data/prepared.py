"""A folder made by `electra prepare`, opened: its shards, its tokenizer, its windows."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from electra_cli.config import PretrainConfig
from electra_cli.data.batches import TokenRoles, WindowReader
from electra_cli.data.manifest import (
    MANIFEST_NAME,
    TOKENIZER_NAME,
    ShardManifest,
    Split,
    load_manifest,
)
from electra_cli.data.shards import open_shards
from electra_cli.data.tokenizer import fingerprint, load_tokenizer, word_starts
from electra_cli.data.verified import verify_changed_shards
from electra_cli.disk import check_utf8
from electra_cli.errors import DataError
from electra_cli.schedule import last_value

DATA_FOLDER = Path("data")


@dataclass(frozen=True)
class PreparedData:
    """A folder made by `electra prepare`, opened."""

    directory: Path
    manifest: ShardManifest
    token_roles: TokenRoles
    pad_id: int
    _readers: dict[Split, tuple[object, WindowReader]] = field(default_factory=dict, repr=False)

    @property
    def tokenizer_directory(self) -> Path:
        """The tokenizer that the shards were made with."""
        return self.directory / TOKENIZER_NAME

    @property
    def sha256(self) -> str:
        """SHA-256 of the names and checksums of all shards."""
        checksums = [(shard.name, shard.sha256) for shard in self.manifest.shards]
        return hashlib.sha256(json.dumps(checksums).encode()).hexdigest()

    def reader(self, split: Split, config: PretrainConfig) -> WindowReader:
        """Windows of one split, cut as `config` says.

        Equal settings give the same reader again, since cutting a billion tokens takes seconds.
        """
        # Held-out text is always masked alike; training may begin with another share.
        mask_fraction = last_value(config.objective.mask_fraction)
        settings = (config.data, mask_fraction, config.run.seed)
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


def open_data(directory: Path, verify_all: bool = False) -> PreparedData:
    """Open a prepared folder. Raises DataError if it is unfinished, damaged or inconsistent.

    Compares checksums: of shards that changed since the last time, or of all.
    """
    check_utf8(str(directory))
    manifest = load_manifest(directory)
    verify_changed_shards(directory, manifest, verify_all)
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
