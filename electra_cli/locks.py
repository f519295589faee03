"""One process at a time works in a folder: a lock on a file in it, which dies with its owner."""

import fcntl
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from electra_cli import console
from electra_cli.errors import UserError


@contextmanager
def held(lock: Path, in_use: Callable[[str], UserError]) -> Iterator[None]:
    """Hold the file `lock`, which is made where it is missing.

    The kernel frees it when the process ends, however it ends; the file stays. Raises what `in_use`
    makes of the name of the process that holds it, OSError if the file cannot be written.
    """
    with lock.open("a+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().decode(errors="replace").strip() or "another process"
            raise in_use(owner) from None
        except OSError as error:  # some network file systems have no locks
            console.warn(
                f"{lock.parent} cannot be locked: {error.strerror}",
                hint="see to it that no second process works in it",
            )
        # Its owner may have removed the file between our opening and our locking it.
        if not lock.exists() or not os.path.samestat(os.fstat(file.fileno()), lock.stat()):
            raise in_use("a process that is just ending")
        owner = f"process {os.getpid()} on {platform.node()} since {datetime.now():%F %T}\n"
        with suppress(OSError):  # on a full disk the lock holds without a name
            file.truncate(0)
            file.write(owner.encode())
        yield
