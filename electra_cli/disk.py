"""Write files that appear whole or not at all, and check them."""

import errno
import hashlib
import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer  # of the standard library from Python 3.12 on

# The disk, the user's quota, the process's limit on a file's size.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_PIECE_BYTES = 1 << 18


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


def replace_file(path: Path, write: Callable[[io.RawIOBase], object]) -> str:
    """Write beside, sync, rename: a kill leaves the old file or the new one, never half.

    Returns the SHA-256 of what was written, in hexadecimal.
    """
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        hashing = _HashingFile(file)
        write(hashing)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_to_disk(path.parent)
    return hashing.hexdigest()


def write_bytes_atomically(path: Path, content: bytes) -> str:
    """replace_file for content that is all in memory; returns its SHA-256, in hexadecimal."""
    return replace_file(path, lambda file: file.write(content))


class _HashingFile(io.RawIOBase):
    """Writes a file and hashes it, piece by piece: each is in the processor's cache for both."""

    def __init__(self, file: io.BufferedWriter) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: "Buffer", /) -> int:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _PIECE_BYTES):
            piece = view[start : start + _PIECE_BYTES]
            self._file.write(piece)
            self._hash.update(piece)
        return len(view)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
