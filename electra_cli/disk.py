"""Write files that appear whole or not at all, and check them."""

import errno
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

# The disk, the user's quota, the process's limit on a file's size.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def is_full(error: OSError) -> bool:
    """Whether there was no room to write; making some mends it."""
    return error.errno in _FULL


def as_os_error(error: Exception) -> OSError | None:
    """The system's error behind an exception, if that is what it is.

    Libraries written in Rust raise their own, and name the error's number in its text.
    """
    if isinstance(error, OSError):
        return error
    number = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else None


def sync_to_disk(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def drop_from_cache(path: Path) -> None:
    """Let the next reader of a synced file get it from the disk, not from memory.

    A no-op where the system offers no such call.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
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
