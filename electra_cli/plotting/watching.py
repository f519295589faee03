"""Follow runs that go on: their page is drawn again whenever one of them has changed."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from electra_cli import console
from electra_cli.plotting.files import write_files
from electra_cli.plotting.reading import RunReader
from electra_cli.run_directory import NoRowsError, RunDirectory
from electra_cli.stopping import StopRequest, pause

# How often a watched run is looked at, and how often its page in the browser is read anew.
_LOOK_EVERY_SECONDS = 1.0
_RELOAD_EVERY_SECONDS = 10
# Pauses to drawing: the training itself wants the processor, and a long log takes seconds to read.
_PAUSE_FACTOR = 4


def watch(
    folders: Sequence[Path],
    page: Path,
    png: Path | None,
    announce: Callable[[Sequence[Path]], None],
    stop: StopRequest,
) -> None:
    """Draw anew whenever a run has changed, until Ctrl-C; at the end a page that stays."""
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
                        console.hint("drawn anew as the log grows; Ctrl-C ends it")
                    logs = read
                state = now
            took = time.monotonic() - began
            pause(max(_LOOK_EVERY_SECONDS, _PAUSE_FACTOR * took), stop)
    except KeyboardInterrupt:
        if logs is not None:
            write_files(logs, page, png)
        console.talk("watching ended")


def _state(folders: Sequence[Path]) -> list[object]:
    """What changes when a run goes on."""
    state: list[object] = []
    for directory in map(RunDirectory, folders):
        for path in (directory.log, directory.events, directory.config):
            status = path.stat() if path.is_file() else None
            state.append(status and (status.st_size, status.st_mtime_ns))
        state.append(directory.checkpoint_steps())
    return state
