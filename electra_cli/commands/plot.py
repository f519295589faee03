"""electra plot: the curves of one run or of several, as a page and on request as a picture."""

import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path

from electra_cli import console
from electra_cli.errors import RunError
from electra_cli.plotting.curves import GROUPS, MARK, RunLog, has_values
from electra_cli.run_directory import RunDirectory


def run(runs: Sequence[Path], out: Path | None, png: Path | None, open_browser: bool) -> None:
    """Write the page of these runs, and a picture if `png` is given; print the paths.

    The page goes to `out`; without it into the run's folder, of several runs into this one.
    Raises RunError for a folder that holds no usable log, and for a file that would be
    overwritten but was not written by this command.
    """
    folders = list({root.resolve(): root for root in runs}.values())
    logs = _read_all(folders)
    default = RunDirectory(folders[0] if len(folders) == 1 else Path()).page
    page = out or default

    from electra_cli.plotting.page import write_page

    _write(page, logs, write_page, option="--out")
    if png is not None:
        from electra_cli.plotting.picture import write_picture

        _write(png, logs, write_picture, option="--png")
    if open_browser and not webbrowser.open(page.resolve().as_uri()):
        console.warn("no browser could be started", hint=f"open {page} yourself")


def _read_all(folders: Sequence[Path]) -> list[RunLog]:
    """The logs of these folders; of several, those that cannot be drawn are passed over."""
    for folder in folders:
        if not folder.is_dir():
            raise RunError(f"no folder {folder}", hint="name the folder of a run: runs/NAME")
    logs = []
    for folder, name in zip(folders, _names(folders), strict=True):
        try:
            logs.append(_read(folder, name))
        except RunError as error:
            if len(folders) == 1:
                raise
            console.warn(str(error), error.hint)
    if not logs:
        raise RunError("none of these folders can be drawn", hint="name the folder of a run")
    return logs


def _read(root: Path, name: str) -> RunLog:
    """The log of one run, with all that drawing relies on."""
    directory = RunDirectory(root)
    inside = sorted(child.name for child in root.iterdir() if RunDirectory(child).log.is_file())
    if inside and not directory.log.is_file():
        raise RunError(
            f"{root} is no run but holds runs: {', '.join(inside[:5])}",
            hint=f"electra plot {root / inside[0]}, or all of them: electra plot {root}/*",
        )
    log = RunLog(name, directory.read_log())
    if None in log.columns.get("step", [None]):
        raise RunError(
            f"{directory.log} has rows without a step", hint="name a folder made by electra train"
        )
    if not any(has_values(panel, [log]) for group in GROUPS for panel in group.panels):
        raise RunError(
            f"{directory.log} has nothing to draw", hint="name a folder made by electra train"
        )
    return log


def _names(folders: Sequence[Path]) -> list[str]:
    """What the runs are called: their folders, and as much before as tells them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("the folders are different")


def _write(
    path: Path,
    logs: Sequence[RunLog],
    write: Callable[[Path, Sequence[RunLog]], None],
    option: str,
) -> None:
    """Write one file and print its path; never over a file that this command has not written."""
    try:
        if path.is_dir():
            raise RunError(f"{path} is a folder", hint=f"name a file: {option} FILE")
        if path.exists() and MARK.encode() not in _start(path):
            raise RunError(
                f"{path} exists and was not written by electra",
                hint=f"choose another {option} FILE",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, logs)
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {error.strerror}", hint=f"choose another {option} FILE"
        ) from None
    console.result(path)


def _start(path: Path) -> bytes:
    """The first bytes of a file, where a page and a picture of ours carry their mark."""
    with path.open("rb") as file:
        return file.read(512)
