"""The signature of `electra predict`."""

from pathlib import Path
from typing import Annotated

import typer

from electra_cli import completion


def predict(
    model: Annotated[
        str,
        typer.Argument(
            help="finetune/NAME, a run (its discriminator), or a Hugging Face folder or id.",
            autocompletion=completion.models,
        ),
    ],
    file: Annotated[
        str,
        typer.Argument(help="Texts: a file as electra finetune reads it, or .txt with one a line."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="File to write, .csv or .jsonl.  [default: CSV on stdout]")
    ] = None,
    text: Annotated[str | None, typer.Option(help="Column of the text or the words.")] = None,
    text_pair: Annotated[str | None, typer.Option(help="Column of a second text.")] = None,
    id: Annotated[str | None, typer.Option(help="Column that names an example.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
) -> None:
    """Answer a file of texts with a fine-tuned model, or judge it with a discriminator.

    A fine-tuned model gives labels and probabilities. A pre-trained discriminator gives each
    token's probability of being replaced, and a score per text: the higher, the less odd it looks.
    Of a file with columns good and bad it says how often good scores higher.

    Examples:

      electra predict finetune/questions new.csv --out answers.csv

      electra predict runs/first texts.txt --out odd.jsonl
    """
    from electra_cli.stopping import stop_request

    with stop_request():
        from electra_cli.commands.predict import PredictOptions, run

        run(PredictOptions(model, file, out, text, text_pair, id, device))
