"""The signature of `electra prepare`."""

from pathlib import Path
from typing import Annotated

import typer

from electra_cli.cli.app import AsJson


def prepare(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SOURCE]...",
            help="Files, folders or globs (.txt .md .jsonl .csv .tsv .parquet .arrow, also .gz .xz "
            ".zst), a dataset on this disk, or one Hugging Face dataset id. Nothing: the Python "
            "documentation and docstrings installed on this machine.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write.  [default: data/NAME of the source]")
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="Folder or id of a tokenizer.  [default: one is learned from the text]"),
    ] = None,
    add_tokens: Annotated[
        int,
        typer.Option(
            min=0,
            help="Add up to N words and pieces to --tokenizer that the text uses often and it "
            "cuts; old ids stay.",
        ),
    ] = 0,
    pad_vocab_to: Annotated[
        int | None,
        typer.Option(min=1, help="Fill the vocabulary up with [unusedN] to a multiple, as 64."),
    ] = None,
    vocab_size: Annotated[
        int | None,
        typer.Option(
            min=64,
            help="Word pieces to learn.  [default: those that occur 100 times, at most 30522; "
            "built-in corpus: 512]",
        ),
    ] = None,
    cased: Annotated[bool, typer.Option("--cased", help="Keep upper case and accents.")] = False,
    no_strip_accents: Annotated[
        bool,
        typer.Option(
            "--no-strip-accents", help="Keep accents and vowel signs, though in lower case."
        ),
    ] = False,
    column: Annotated[
        str | None, typer.Option(help="Column or key that holds the text.  [default: text]")
    ] = None,
    subset: Annotated[str | None, typer.Option(help="Configuration of a dataset.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of a dataset.  [default: train]")] = None,
    validation_fraction: Annotated[
        float, typer.Option(min=0.0, max=0.5, help="Share of documents to hold out for evaluation.")
    ] = 0.01,
    max_bytes: Annotated[
        int | None, typer.Option(min=1, help="Stop after N bytes of text: for a quick trial.")
    ] = None,
    replace_broken: Annotated[
        bool,
        typer.Option("--replace-broken", help="Read broken UTF-8 with replacement characters."),
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads that tokenize.  [default: all cores]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tokenize and shard text to disk.

    Examples:

      electra prepare

      electra prepare corpus/*.txt.xz --out data/corpus --vocab-size 8192

      electra prepare medical.txt --tokenizer runs/first --add-tokens 2000

      electra prepare articles.jsonl --column body --cased
    """
    from electra_cli.commands.prepare import run
    from electra_cli.preparing.options import PrepareOptions
    from electra_cli.preparing.source import SourceOptions

    run(
        PrepareOptions(
            source=SourceOptions(
                sources=tuple(sources or ()),
                column=column,
                subset=subset,
                split=split,
                max_bytes=max_bytes,
                replace_broken=replace_broken,
            ),
            out=out,
            tokenizer=tokenizer,
            add_tokens=add_tokens,
            pad_vocab_to=pad_vocab_to,
            vocab_size=vocab_size,
            cased=cased,
            no_strip_accents=no_strip_accents,
            validation_fraction=validation_fraction,
            workers=workers,
            as_json=as_json,
        )
    )
