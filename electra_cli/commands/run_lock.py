"""One process at a time writes a run: a lock on a file in its folder, which dies with its owner."""

import contextlib
import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from electra_cli import console
from electra_cli.errors import RunError
from electra_cli.run_directory import RunDirectory


@contextmanager
def locked(run: RunDirectory) -> Iterator[None]:
    """Hold a run. Raises RunError that names who holds it, or if its folder is not writable.

    The kernel frees the lock when the process ends, however it ends; the file stays.
    """
    try:
        file = run.lock.open("a+b", buffering=0)
    except OSError as error:
        raise RunError(
            f"{run.root} cannot be written: {error.strerror}",
            hint="make the folder writable, or copy it and go on with the copy",
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().decode(errors="replace").strip() or "another process"
            raise RunError(
                f"{run.root} is in use by {owner}",
                hint="wait until it is done, or stop it; a run that was killed is free at once",
            ) from None
        except OSError as error:  # some network file systems have no locks
            console.warn(
                f"{run.root} cannot be locked: {error.strerror}",
                "see to it that no second process goes on with this run",
            )
        owner = f"process {os.getpid()} on {platform.node()} since {datetime.now():%F %T}\n"
        with contextlib.suppress(OSError):  # on a full disk the lock holds without a name
            file.truncate(0)
            file.write(owner.encode())
        yield
