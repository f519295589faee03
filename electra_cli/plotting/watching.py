"""Follow runs that are training: redraw their page whenever one of them has changed."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from electra_cli import console
from electra_cli.plotting.files import write_files
from electra_cli.plotting.reading import RunReader
from electra_cli.run_directory import NoRowsError, RunDirectory
from electra_cli.stopping import StopRequest, pause

# How often the runs are checked for changes, and how often the page reloads itself in the browser.
_CHECK_EVERY_SECONDS = 1.0
_RELOAD_EVERY_SECONDS = 10
# A pause lasts at least so many times as long as the drawing before it: a long log takes seconds to
# read, and the training needs the processor.
_PAUSE_FACTOR = 4


def watch(
    folders: Sequence[Path],
    page: Path,
    png: Path | None,
    announce: Callable[[Sequence[Path]], None],
    stop: StopRequest,
) -> None:
    """Redraw whenever a run has changed, until Ctrl-C; pass the first files' paths to `announce`.

    The page reloads itself meanwhile; the last one that is written does not.
    """
    reader = RunReader(folders)
    state, logs = None, None
    try:
        while True:
            began = time.monotonic()
            if (now := _state(folders)) != state:
                try:
                    read = reader.read_all()
                except NoRowsError as error:
                    if state is None:
                        console.talk(f"waiting: {error}")
                else:
                    paths = write_files(read, page, png, _RELOAD_EVERY_SECONDS)
                    if logs is None:
                        announce(paths)
                        console.hint("redrawn while the log grows; Ctrl-C stops it")
                    logs = read
                state = now
            took = time.monotonic() - began
            pause(max(_CHECK_EVERY_SECONDS, _PAUSE_FACTOR * took), stop)
    except KeyboardInterrupt:
        if logs is not None:
            write_files(logs, page, png)
        console.talk("stopped watching")


def _state(folders: Sequence[Path]) -> list[object]:
    """A value that changes when a run writes: sizes and times of its files, checkpoints."""
    state: list[object] = []
    for directory in map(RunDirectory, folders):
        for path in (directory.log, directory.events, directory.config):
            status = path.stat() if path.is_file() else None
            state.append(status and (status.st_size, status.st_mtime_ns))
        state.append(directory.checkpoint_steps())
    return state
