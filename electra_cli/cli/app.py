"""The app that commands register with, and the options that several of them take."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand
from typer.exceptions import TyperException

from electra_cli import __version__, completion, console
from electra_cli.cli.memory_floor import refuse_too_little_memory
from electra_cli.suggestions import nearest_argument

Preset = Annotated[
    str,
    typer.Option(
        help="tiny, mini, small, small++, base, large, or a YAML file.",
        autocompletion=completion.presets,
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        help="Folder made by electra prepare.  [default: the only one under data/]",
        autocompletion=completion.data_folders,
    ),
]
RunDir = Annotated[
    Path,
    typer.Argument(help="Folder of the run, such as runs/NAME.", autocompletion=completion.runs),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead, for scripts.")]
VerifyData = Annotated[
    bool,
    typer.Option(
        "--verify-data", help="Compare the checksums of all data, not of changed files alone."
    ),
]
NumProcesses = Annotated[
    str | None,
    typer.Option(
        "--processes",
        metavar="N|gpus",
        help="Share the work among N processes of this machine, one device each; gpus: one "
        "per GPU.",
    ),
]
MaxMinutes = Annotated[
    float | None,
    typer.Option(
        min=0, help="Stop after N minutes: save, exit with 130; continue with electra resume."
    ),
]

_WRONG_USAGE = 2  # exit code


def _ways_to_set(command: str, arguments: Collection[str]) -> dict[str, str]:
    """How a command with these arguments takes each option that it takes."""
    from electra_cli.config import changeable_options, iter_options
    from electra_cli.finetuning.settings import FinetuneRecipe

    if "--preset" not in arguments and "--set" not in arguments:
        return {}
    recipe = FinetuneRecipe if command == "finetune" else None
    names = [name for name, _ in iter_options(recipe)]
    if command == "resume":
        names = changeable_options()
    way = "--set {}=VALUE" if "--set" in arguments else "{} in the preset file"
    return {name: way.format(name) for name in names}


class Command(TyperCommand):
    """A command that answers an unknown option with the nearest one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments that are left over; shows the problem of an unknown option and exits.

        Raises RunError where a limit leaves no room for the command's libraries.
        """
        known = {name for parameter in self.params for name in parameter.opts if name[:2] == "--"}
        try:
            left_over: list[str] = super().parse_args(ctx, list(args))
        except TyperException as error:
            name = getattr(error, "option_name", "")
            if not hasattr(error, "possibilities"):  # another mistake than an unknown option
                raise
        else:
            if not ctx.resilient_parsing:  # the shell completes: nothing will run
                refuse_too_little_memory(ctx.info_name)
            return left_over
        if not name.startswith("--"):  # -lr is read as the letters -l and -r
            name = next((arg for arg in args if arg.startswith(name)), name)
        close = nearest_argument(name, known, _ways_to_set(ctx.info_name, known))
        console.error(
            f"{ctx.command_path} has no option {name}",
            f"did you mean {close}?" if close else f"its options: {ctx.command_path} --help",
        )
        raise typer.Exit(_WRONG_USAGE)


app = typer.Typer(
    name="electra",
    help="Pre-train ELECTRA text encoders on your own text.",
    epilog="Start with: electra prepare, then: electra train --preset tiny",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(value: bool) -> None:
    if value:
        console.result(f"electra {__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    pass
