"""The signature of `electra finetune`."""

from typing import Annotated

import typer

from electra_cli import completion
from electra_cli.cli.app import AsJson, MaxMinutes, NumProcesses


def finetune(
    encoders: Annotated[
        list[str],
        typer.Argument(
            metavar="ENCODER...",
            help="A run (runs/NAME), a checkpoint of one (runs/NAME/checkpoints/step-N), or a "
            "Hugging Face folder or id; several are compared.",
            autocompletion=completion.runs,
        ),
    ],
    train: Annotated[
        str | None,
        typer.Option(
            help="Labelled examples: a file (.csv .tsv .json .jsonl .conll .parquet .arrow, also "
            ".gz .xz .zst), or a Hugging Face dataset id."
        ),
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(help="Examples to score on.  [default: a tenth of the training file]"),
    ] = None,
    test: Annotated[str | None, typer.Option(help="Examples to score on at the end.")] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="classify, multilabel, regress, tag, qa or glue/NAME.  [default: from the "
            "columns, where they leave no doubt]"
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Official folder of a GLUE task, for glue/NAME.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="Column of the text or the words.")] = None,
    text_pair: Annotated[str | None, typer.Option(help="Column of a second text.")] = None,
    label: Annotated[str | None, typer.Option(help="Column of the label or the tags.")] = None,
    id: Annotated[str | None, typer.Option(help="Column that names an example.")] = None,
    group: Annotated[
        str | None, typer.Option(help="Column whose values are never split between both sides.")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="How many seeds, or which: 5, or 0,1,2.  [default: 1]")
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the examples.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak rate of the head.")] = None,
    layer_decay: Annotated[
        float | None, typer.Option(help="Factor of the rate from layer to layer.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples per optimizer step.")] = None,
    max_seq_length: Annotated[int | None, typer.Option(help="Tokens of the longest input.")] = None,
    class_weights: Annotated[
        str | None, typer.Option(help="none, or balanced: rare classes count as much.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="A YAML file with a section finetune:.", autocompletion=completion.presets
        ),
    ] = None,
    run_name: Annotated[
        str | None, typer.Option(help="Name under finetune/.  [default: the file's, and date]")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="finetune.KEY=VALUE",
            help="Any option; may be repeated.",
            autocompletion=completion.finetune_options,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, and stop.")
    ] = False,
    max_minutes: MaxMinutes = None,
    processes: NumProcesses = None,
    as_json: AsJson = False,
) -> None:
    """Fine-tune encoders on labelled data, and say what pre-training was worth.

    Each encoder is fine-tuned once per seed, and so is the same network from random weights. The
    report shows every score with its interval, beside simpler predictors.

    Examples:

      electra finetune runs/first --train questions.csv

      electra finetune runs/a runs/b --train train.jsonl --test test.jsonl --seeds 5

      electra finetune runs/first --task glue/CoLA --data glue/CoLA --epochs 5
    """
    from electra_cli.stopping import stop_request

    named = {
        "encoders": encoders,
        "train": train,
        "validation": validation,
        "test": test,
        "task": task,
        "data": data,
        "text": text,
        "text_pair": text_pair,
        "label": label,
        "id": id,
        "group": group,
        "seeds": seeds,
        "epochs": epochs,
        "learning_rate": learning_rate,
        "layer_decay": layer_decay,
        "batch_size": batch_size,
        "max_seq_length": max_seq_length,
        "class_weights": class_weights,
    }
    with stop_request(max_minutes):
        from electra_cli.commands.finetune import FinetuneOptions
        from electra_cli.commands.finetune import finetune as run

        run(
            FinetuneOptions(
                preset=preset,
                options={f"finetune.{n}": v for n, v in named.items() if v is not None},
                assignments=tuple(assignments or ()),
                run_name=run_name,
                dry_run=dry_run,
                as_json=as_json,
                processes=processes,
                max_minutes=max_minutes,
            )
        )
