"""electra plot: the curves of one run or of several, as a page and on request as a picture."""

import time
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from electra_cli import console
from electra_cli.errors import ConfigError, RunError
from electra_cli.plotting.curves import GROUPS, MARK, has_values
from electra_cli.plotting.page import write_page
from electra_cli.plotting.run_log import RunLog, read_run
from electra_cli.presets import load_options
from electra_cli.run_directory import NoRowsError, RunDirectory
from electra_cli.stopping import StopRequest, pause, stop_request

# How often a watched run is looked at, and how often its page in the browser is read anew.
_LOOK_EVERY_SECONDS = 1.0
_RELOAD_EVERY_SECONDS = 10
# Pauses to drawing: the training itself wants the processor, and a long log takes seconds to read.
_PAUSE_FACTOR = 4


@dataclass(frozen=True)
class PlotOptions:
    """What `electra plot` was asked for."""

    runs: Sequence[Path]
    out: Path | None
    png: Path | None
    watch: bool
    open_browser: bool


def plot(options: PlotOptions) -> None:
    """Write the page of these runs, and a picture if `png` is given; print the paths.

    The page goes to `out`; without it into the run's folder, of several runs into this one.
    Raises RunError for a folder that holds no usable log, and for a file that would be
    overwritten but was not written by this command.
    """
    folders = list({root.resolve(): root for root in options.runs}.values())
    for folder in folders:
        _check_folder(folder)
    page = options.out or RunDirectory(folders[0] if len(folders) == 1 else Path()).page
    if options.watch:
        with stop_request() as stop:
            _watch(folders, page, options, stop)
        return
    for path in _draw(_Reader(folders).read_all(), page, options.png):
        console.result(path)
    if options.open_browser:
        _open(page)


def _watch(folders: Sequence[Path], page: Path, options: PlotOptions, stop: StopRequest) -> None:
    """Draw anew whenever a run has changed, until Ctrl-C; at the end a page that stays."""
    reader = _Reader(folders)
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
                    paths = _draw(read, page, options.png, _RELOAD_EVERY_SECONDS)
                    if logs is None:
                        for path in paths:
                            console.result(path)
                        console.hint("drawn anew as the log grows; Ctrl-C ends it")
                        if options.open_browser:
                            _open(page)
                    logs = read
                state = now
            took = time.monotonic() - began
            pause(max(_LOOK_EVERY_SECONDS, _PAUSE_FACTOR * took), stop)
    except KeyboardInterrupt:
        if logs is not None:
            _draw(logs, page, options.png)
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


@dataclass(frozen=True)
class _Reader:
    """Reads the runs, as often as is asked, and tells each thing that is odd about them once."""

    folders: Sequence[Path]
    told: set[str] = field(default_factory=set)

    def read_all(self) -> list[RunLog]:
        """The runs; of several, those that cannot be drawn are passed over.

        Raises RunError if none is left, NoRowsError if some of them may have rows later.
        """
        logs: list[RunLog] = []
        errors: list[RunError] = []
        for folder, name in zip(self.folders, _names(self.folders), strict=True):
            try:
                logs.append(self._read(folder, name))
            except RunError as error:
                errors.append(error)
        if logs:
            for passed_over in errors:
                self._warn(passed_over, passed_over.hint)
            return logs
        young = [problem for problem in errors if isinstance(problem, NoRowsError)]
        raise [*young, *errors][0]

    def _read(self, root: Path, name: str) -> RunLog:
        """One run, with all that drawing relies on."""
        _check_folder(root)  # a watched run may have been deleted
        directory = RunDirectory(root)
        inside = sorted(child.name for child in root.iterdir() if RunDirectory(child).log.is_file())
        if inside and not directory.log.is_file():
            raise RunError(
                f"{root} is no run but holds runs: {', '.join(inside[:5])}",
                hint=f"electra plot {root / inside[0]}, or all of them: electra plot {root}/*",
            )
        log = read_run(directory, name, self._settings(directory))
        if not any(has_values(panel, [log]) for group in GROUPS for panel in group.panels):
            raise RunError(
                f"{directory.log} has nothing to draw", hint="name a folder made by electra train"
            )
        return log

    def _settings(self, directory: RunDirectory) -> Mapping[str, object]:
        """The settings of a run; a log alone can be drawn, too."""
        if not directory.config.is_file():
            return {}
        try:
            return load_options(directory.config)
        except ConfigError as error:
            self._warn(error, "the curves are drawn without the settings")
            return {}

    def _warn(self, problem: object, hint: str) -> None:
        if str(problem) not in self.told:
            self.told.add(str(problem))
            console.warn(str(problem), hint)


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise RunError(f"no folder {folder}", hint="name the folder of a run: runs/NAME")


def _names(folders: Sequence[Path]) -> list[str]:
    """What the runs are called: their folders, and as much before as tells them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("the folders are different")


def _draw(
    logs: Sequence[RunLog], page: Path, png: Path | None, reload_seconds: int | None = None
) -> list[Path]:
    """Write the files that were asked for; their paths."""
    _write(page, partial(write_page, runs=logs, reload_seconds=reload_seconds), option="--out")
    if png is None:
        return [page]
    from electra_cli.plotting.picture import write_picture  # matplotlib takes half a second

    _write(png, partial(write_picture, runs=logs), option="--png")
    return [page, png]


def _write(path: Path, write: Callable[[Path], None], option: str) -> None:
    """Write one file; never over a file that this command has not written."""
    try:
        if path.is_dir():
            raise RunError(f"{path} is a folder", hint=f"name a file: {option} FILE")
        if path.exists() and MARK.encode() not in _start(path):
            raise RunError(
                f"{path} exists and was not written by electra",
                hint=f"choose another {option} FILE",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {error.strerror}", hint=f"choose another {option} FILE"
        ) from None


def _start(path: Path) -> bytes:
    """The first bytes of a file, where a page and a picture of ours carry their mark."""
    with path.open("rb") as file:
        return file.read(512)


def _open(page: Path) -> None:
    if not webbrowser.open(page.resolve().as_uri()):
        console.warn("no browser could be started", hint=f"open {page} yourself")
