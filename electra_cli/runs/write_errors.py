"""Turn write errors into errors that a user can fix; record events of a run."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from electra_cli.disk import as_os_error, is_full
from electra_cli.errors import DiskFullError, RunError
from electra_cli.run_directory import RunDirectory
from electra_cli.run_events import EventKind, append_event


@contextlib.contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Raise DiskFullError or RunError for the system's errors of writing a path."""
    try:
        yield
    except Exception as error:
        reason = as_os_error(error)
        if reason is None:
            raise
        raise (DiskFullError if is_full(reason) else RunError)(
            f"{path} could not be written: {reason.strerror or reason}",
            hint="make room on the disk, or check the disk for errors",
        ) from error


def record_event(run: RunDirectory, step: int, kind: EventKind, text: str, key: str = "") -> None:
    """Append an event where there is room: nothing depends on it."""
    with contextlib.suppress(OSError):
        append_event(run.events, step, kind, text, key)
