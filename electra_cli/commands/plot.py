"""electra plot: draw the curves of one run or several, as a page and on request as a picture."""

import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from electra_cli import console
from electra_cli.plotting.files import write_files
from electra_cli.plotting.reading import RunReader, check_folder
from electra_cli.plotting.watching import watch
from electra_cli.run_directory import RunDirectory
from electra_cli.stopping import stop_request


@dataclass(frozen=True)
class PlotOptions:
    """The arguments of `electra plot`."""

    runs: Sequence[Path]
    out: Path | None
    png: Path | None
    watch: bool
    open_browser: bool


def plot(options: PlotOptions) -> None:
    """Write the page of these runs, and a picture if `png` is given; print the paths.

    The page goes to `out`; without it to the folder of the run, or to the current folder if there
    are several runs. Raises RunError for a folder without a usable log, and rather than overwrite
    a file that this command has not written.
    """
    folders = list({root.resolve(): root for root in options.runs}.values())
    for folder in folders:
        check_folder(folder)
    page = options.out or RunDirectory(folders[0] if len(folders) == 1 else Path()).page

    def announce(paths: Sequence[Path]) -> None:
        for path in paths:
            console.result(path)
        if options.open_browser:
            _open(page)

    if options.watch:
        with stop_request() as stop:
            watch(folders, page, options.png, announce, stop)
    else:
        announce(write_files(RunReader(folders).read_all(), page, options.png))


def _open(page: Path) -> None:
    if not webbrowser.open(page.resolve().as_uri()):
        console.warn("no browser could be started", hint=f"open {page} yourself")
