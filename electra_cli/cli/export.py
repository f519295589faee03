"""The signature of `electra export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from electra_cli.cli.app import RunDir

if TYPE_CHECKING:
    from electra_cli.publishing.hub import Publication


def export(
    run_dir: RunDir,
    step: Annotated[
        int | None,
        typer.Option(min=0, help="Checkpoint to export.  [default: the newest good one]"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write into.  [default: RUN_DIR/export/step-N]")
    ] = None,
    onnx: Annotated[
        bool,
        typer.Option("--onnx", help="Also write model.onnx per network, compared on real windows."),
    ] = False,
    push_to_hub: Annotated[
        str | None,
        typer.Option(metavar="ORG/NAME", help="Publish it on the Hugging Face Hub, too."),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option("--license", help="Under which to publish, such as apache-2.0 or cc-by-4.0."),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(help="Branch to publish as, such as step-20000.  [default: main]"),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="If the repository is new, nobody else may see it.")
    ] = False,
) -> None:
    """Write the networks of a checkpoint as Hugging Face folders, finished run or not.

    What a finished run writes: each folder is opened again and compared with the checkpoint.

    Examples:

      electra export runs/first

      electra export runs/first --step 20000 --out early

      electra export runs/first --push-to-hub me/first --license apache-2.0 --private
    """
    from electra_cli.commands.export import export as run

    run(run_dir, step, out, _publication(push_to_hub, licence, revision, private), onnx)


def _publication(
    repo: str | None, licence: str | None, revision: str | None, is_private: bool
) -> "Publication | None":
    """Raises ConfigError where something is missing or asked for in vain."""
    from electra_cli.errors import ConfigError
    from electra_cli.publishing.hub import Publication

    if repo is None:
        if licence is not None or revision is not None or is_private:
            raise ConfigError(
                "--license, --revision and --private are of a model that is published",
                hint="add --push-to-hub ORG/NAME, or leave them out",
            )
        return None
    if licence is None:
        raise ConfigError(
            "a published model needs a licence: others may not use it without one",
            hint="add --license apache-2.0, cc-by-4.0 or other; see the licence of your texts",
        )
    return Publication(repo, revision, is_private, licence)
