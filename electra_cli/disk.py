"""Write files that appear whole or not at all, and check them."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def sync_to_disk(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write beside, sync, rename: a kill leaves the old file or the new one, never half."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_to_disk(path.parent)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
