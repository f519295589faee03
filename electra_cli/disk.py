"""Write files and folders atomically; checksums; folders named by a step.

After a kill or a crash of the system, a name holds either its old content or all of the new.
"""

import errno
import filecmp
import hashlib
import io
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from electra_cli.errors import DataError

if TYPE_CHECKING:
    from typing_extensions import Buffer  # of the standard library from Python 3.12 on

# The disk, the user's quota, the process's limit on a file's size.
_FULL_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# What fsync of a folder raises on some file systems (FUSE, CIFS), which offer no such call.
_NO_FOLDER_SYNC_ERRNOS = {errno.EINVAL, errno.ENOTSUP}
_PIECE_BYTES = 1 << 18
_STEP_FOLDER = re.compile(r"step-(\d{8,})")


def check_utf8(path: str) -> None:
    """Raise DataError for a path whose bytes are not UTF-8: libraries and settings need that."""
    with suppress(UnicodeError):
        if os.fsencode(path).decode("utf-8") == path:
            return
    raise DataError(f"the path {path} is not UTF-8", hint="rename it, or use another one")


def expand_home(name: str) -> Path:
    """A path with a home folder for ~ and ~USER; as it stands where there is no such folder."""
    path = Path(name)
    with suppress(RuntimeError):
        return path.expanduser()
    return path


def cache_folder() -> Path:
    """Where the program keeps what it can make again; a place to keep nothing without a home."""
    base = expand_home(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return (base if base.parts[:1] != ("~",) else Path(os.devnull)) / "electra"


def whole_path(name: str) -> str:
    """The full name of a file or folder that is there; any other name as it is."""
    path = expand_home(name)
    return str(path.resolve()) if path.exists() else name


def as_argument(path: Path) -> str:
    """A path in a command that can be pasted: quoted where a shell would read it otherwise."""
    text = f"./{path}" if str(path).startswith("-") else str(path)
    if text.isprintable():
        return shlex.quote(text)
    # Line ends and other control characters as bash, zsh and ksh spell them.
    spelt = (
        f"\\{c}" if c in "\\'" else c if c.isprintable() else c.encode("unicode_escape").decode()
        for c in text
    )
    return f"$'{''.join(spelt)}'"


def is_full(error: OSError) -> bool:
    """Whether a write failed for lack of room: the user can free some and try again."""
    return error.errno in _FULL_ERRNOS


def as_os_error(error: Exception) -> OSError | None:
    """The OSError behind an exception; None if there is none.

    Libraries written in Rust raise exceptions of their own whose text ends in "(os error 28)".
    """
    if isinstance(error, OSError):
        return error
    number = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else None


def sync_to_disk(path: Path) -> None:
    """Flush a file, or a folder's list of names, from memory to the disk.

    A folder on a file system that cannot flush folders is left as it is. Raises OSError.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC_ERRNOS or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def drop_from_cache(path: Path) -> None:
    """Make the next reader of a flushed file read the disk, not the system's copy in memory.

    Does nothing where the system offers no such call.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def replace_file(path: Path, write: Callable[[io.RawIOBase], object]) -> str:
    """Let `write` fill a file next to `path`, flush it, then rename it to `path`.

    Where `write` raises, the old file stays. Returns the SHA-256 of the content, in hexadecimal.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            hashing = _HashingFile(file)
            write(hashing)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with suppress(OSError):  # the first error is the one to tell
            partial.unlink()
        raise
    sync_to_disk(path.parent)
    return hashing.hexdigest()


def write_bytes_atomically(path: Path, content: bytes) -> str:
    """replace_file for content that is all in memory; returns its SHA-256, in hexadecimal."""
    return replace_file(path, lambda file: file.write(content))


@contextmanager
def replace_folder(
    path: Path, on_aside: Callable[[Path], object] = lambda aside: None
) -> Iterator[Path]:
    """Yield an empty folder next to `path` to fill; flush it and rename it to `path` at the end.

    A folder that is at `path` already and holds anything else is set aside first; `on_aside` is
    told its new name. Where the block raises, the old one stays. One process at a time: what a
    killed one left is deleted first.
    """
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    aside = None
    try:
        partial.mkdir(parents=True)
        yield partial
        mode = partial.stat().st_mode & 0o666  # by the umask, which some libraries do not ask
        for written in (*partial.rglob("*"), partial):
            if written.is_file():
                written.chmod(mode)
            sync_to_disk(written)
        if path.exists():
            if _holds_same(path, partial):
                shutil.rmtree(partial)
                return
            aside = set_aside(path)
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        if aside is not None and not path.exists():
            aside.rename(path)
        raise
    sync_to_disk(path.parent)
    if aside is not None:
        on_aside(aside)


def _holds_same(first: Path, second: Path) -> bool:
    """Whether two folders hold the same files with the same content."""
    names = [sorted(path.relative_to(each) for path in each.rglob("*")) for each in (first, second)]
    return names[0] == names[1] and all(
        filecmp.cmp(first / name, second / name, shallow=False)
        for name in names[0]
        if (first / name).is_file() and (second / name).is_file()
    )


def name_aside(path: Path) -> Path:
    """The first free name of aside-NAME, aside-2-NAME, aside-3-NAME ... beside `path`."""
    aside, number = path.with_name(f"aside-{path.name}"), 1
    while os.path.lexists(aside):
        number += 1
        aside = path.with_name(f"aside-{number}-{path.name}")
    return aside


def set_aside(path: Path) -> Path:
    """Rename what the program no longer uses but never deletes -> its new name."""
    return path.rename(name_aside(path))


class _HashingFile(io.RawIOBase):
    """Write to a file and hash the same bytes, in pieces that stay in the processor's cache."""

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


def step_folder(directory: Path, step: int) -> Path:
    """Where the checkpoint of a step lies: directory/step-00001000."""
    return directory / f"step-{step:08d}"


def step_of_folder(path: Path) -> int | None:
    """The step whose checkpoint this folder is, by its name; None for any other folder."""
    match = _STEP_FOLDER.fullmatch(path.name)
    return None if match is None else int(match[1])


def steps_of_folders(directory: Path) -> list[int]:
    """Steps of the checkpoints in a folder, ascending; none of them is opened or verified."""
    if not directory.is_dir():
        return []
    steps = map(step_of_folder, directory.iterdir())
    return sorted(step for step in steps if step is not None)
