"""One process at a time: locks on files, which the kernel frees when their owner ends, however.

filelock does the locking; the files stay. This module adds two things: it writes the owner's name
into the lock file, and it continues on file systems without locks.
"""

import errno
import fcntl
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from electra_cli import console
from electra_cli.errors import RunError, UserError
from electra_cli.run_directory import RunDirectory

# What flock says on (mostly network) file systems without locks.
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}


def hold(path: Path, in_use: Callable[[str], UserError]) -> AbstractContextManager[object]:
    """Lock the file now, which is made where it is missing; leaving the context frees it.

    Warns where the file system has no locks. Raises what `in_use` makes of the name of the process
    that holds it, OSError if the file cannot be written.
    """
    try:
        held = _acquire(path, waits=False)
    except Timeout:
        raise in_use(_owner_of(path)) from None
    if held is None:
        console.warn(
            f"{path.parent} cannot be locked: its file system has no locks",
            hint="make sure no other process uses this folder",
        )
    return held or nullcontext()


def hold_run(run: RunDirectory) -> AbstractContextManager[object]:
    """Lock a run, which one process at a time may write; leaving the context frees it.

    Raises RunError that names who holds it, or if its folder is not writable.
    """

    def in_use(owner: str) -> RunError:
        return RunError(
            f"{run.root} is in use by {owner}",
            hint="wait until it is done, or stop it; a run that was killed is free at once",
        )

    try:
        return hold(run.lock, in_use)
    except OSError as error:
        raise RunError(
            f"{run.root} cannot be written: {error.strerror}",
            hint="make the folder writable, or copy it and go on with the copy",
        ) from None


def wait_for(path: Path) -> AbstractContextManager[object]:
    """Lock the file as soon as nobody else holds it; leaving the context frees it.

    Holds nothing where the file system has no locks, or if the file belongs to a user who lets no
    other write it. Raises OSError if it cannot be made.
    """
    message = f"waiting until {_owner_of(path)} is done with {path.parent}"
    with suppress(PermissionError), console.announce_wait(message):
        return _acquire(path, waits=True) or nullcontext()
    return nullcontext()


@contextmanager
def try_to_hold(path: Path) -> Iterator[bool]:
    """Lock the file if it is free -> whether it is.

    False, too, where that cannot be known: on a file system without locks, or if the file belongs
    to a user who lets no other write it.
    """
    held = None
    with suppress(OSError):  # of which filelock's Timeout is one
        held = _acquire(path, waits=False)
    with held or nullcontext():
        yield held is not None


def owner_of(path: Path) -> str | None:
    """The process that holds a lock, in words; None if nobody does, or that cannot be known.

    Changes nothing, and disturbs another reader as little as the owner.
    """
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _owner_of(path)
    except OSError:
        pass
    return None


def _acquire(path: Path, waits: bool) -> AbstractContextManager[object] | None:
    """The lock, held; None where the file system has none. Raises Timeout if it is not free."""
    # Without flock, filelock checks whether the file exists: a killed process would keep the lock.
    lock = FileLock(path, fallback_to_soft=False, on_acquired=_write_owner)
    try:
        return lock.acquire(blocking=waits)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise


def _write_owner(descriptor: int) -> None:
    """Say in the lock's file who holds it; filelock itself writes nothing there."""
    owner = f"process {os.getpid()} on {platform.node()} since {datetime.now():%F %T}\n"
    with suppress(OSError):  # on a full disk the lock holds without a name
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, owner.encode(), 0)


def _owner_of(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip() or "another process"
    except FileNotFoundError:  # its owner removed it after we had opened it
        return "a process that is just ending"
