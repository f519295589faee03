"""The signature of `electra status`."""

from pathlib import Path
from typing import Annotated

import typer

from electra_cli import completion
from electra_cli.cli.app import AsJson


def status(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RUN_DIR]...",
            help="Folders of runs.  [default: all under runs/]",
            autocompletion=completion.runs,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show how runs are doing: state, steps, time left, held-out losses, newest good checkpoint.

    Examples:

      electra status

      electra status runs/first --json
    """
    from electra_cli.commands.status import status as run

    run(runs or (), as_json)
