"""The signature of `electra plot`."""

from pathlib import Path
from typing import Annotated

import typer

from electra_cli import completion


def plot(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN_DIR...", help="Folders of runs.", autocompletion=completion.runs
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Page to write.  [default: RUN_DIR/loss_curve.html; for several runs here]"
        ),
    ] = None,
    png: Annotated[Path | None, typer.Option(help="Also write a PNG.")] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Redraw while the log grows, until Ctrl-C.")
    ] = False,
    open_browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in the browser.")
    ] = False,
) -> None:
    """Draw the loss curves of one or several runs as an interactive page.

    Examples:

      electra plot runs/first

      electra plot runs/first --watch --open

      electra plot runs/* --out compare.html --png compare.png
    """
    from electra_cli.commands.plot import PlotOptions
    from electra_cli.commands.plot import plot as run

    run(PlotOptions(runs=runs, out=out, png=png, watch=watch, open_browser=open_browser))
