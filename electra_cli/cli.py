"""The commands' signatures, and the one place where user errors become text.

Heavy imports live inside the commands, so that `--help` answers at once.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from electra_cli import __version__, console
from electra_cli.errors import UserError

app = typer.Typer(
    name="electra",
    help="Pre-train ELECTRA text encoders on your own text.",
    epilog="Start with: electra prepare, then: electra train --preset tiny",
    no_args_is_help=True,
    add_completion=False,
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


@app.command()
def prepare(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SOURCE]...",
            help="Files, folders or globs (.txt .md .jsonl .csv .parquet .arrow, also .gz .xz "
            ".zst), or one Hugging Face dataset id. Nothing: the Python documentation and "
            "docstrings installed on this machine.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write.  [default: data/NAME of the source]")
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="Folder or id of a tokenizer; without it one is trained."),
    ] = None,
    vocab_size: Annotated[
        int | None,
        typer.Option(min=64, help="Word pieces to train.  [default: 30522, built-in corpus: 1024]"),
    ] = None,
    cased: Annotated[bool, typer.Option("--cased", help="Keep upper case and accents.")] = False,
    column: Annotated[str, typer.Option(help="Column or key that holds the text.")] = "text",
    subset: Annotated[str | None, typer.Option(help="Configuration of a dataset id.")] = None,
    split: Annotated[str, typer.Option(help="Split of a dataset id.")] = "train",
    validation_fraction: Annotated[
        float, typer.Option(min=0.0, max=0.5, help="Share of documents held out.")
    ] = 0.01,
    max_bytes: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many bytes of text: a quick trial.")
    ] = None,
    replace_broken: Annotated[
        bool,
        typer.Option("--replace-broken", help="Read broken UTF-8 with replacement characters."),
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads that tokenize.  [default: all cores]")
    ] = None,
) -> None:
    """Tokenize and shard text to disk.

    Examples:

      electra prepare

      electra prepare corpus/*.txt.xz --out data/corpus --vocab-size 8192

      electra prepare articles.jsonl --column body --cased
    """
    from electra_cli.commands.prepare import PrepareOptions, run

    run(
        PrepareOptions(
            sources=tuple(sources or ()),
            out=out,
            tokenizer=tokenizer,
            vocab_size=vocab_size,
            cased=cased,
            column=column,
            subset=subset,
            split=split,
            validation_fraction=validation_fraction,
            max_bytes=max_bytes,
            replace_broken=replace_broken,
            workers=workers,
        )
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the app; show a UserError as a problem and a hint, keep the traceback of a bug."""
    try:
        app(args=list(sys.argv[1:] if argv is None else argv))
    except UserError as error:
        console.error(str(error), error.hint)
        raise SystemExit(1) from None
