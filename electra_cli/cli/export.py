"""The signature of `electra export`."""

from pathlib import Path
from typing import Annotated

import typer

from electra_cli import completion


def export(
    run_dir: Annotated[
        Path,
        typer.Argument(
            help="Folder of the run, such as runs/NAME.", autocompletion=completion.runs
        ),
    ],
    step: Annotated[
        int | None,
        typer.Option(min=0, help="Checkpoint to export.  [default: the newest good one]"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write into.  [default: RUN_DIR/export/step-N]")
    ] = None,
) -> None:
    """Write the networks of a checkpoint as Hugging Face folders, finished run or not.

    What a finished run writes: each folder is opened again and compared with the checkpoint.

    Examples:

      electra export runs/first

      electra export runs/first --step 20000 --out early
    """
    from electra_cli.commands.export import export as run

    run(run_dir, step, out)
