"""The signature of `electra train`."""

from typing import Annotated

import typer

from electra_cli import completion
from electra_cli.cli.app import AsJson, Data, MaxMinutes, NumProcesses, VerifyData


def train(
    preset: Annotated[
        str | None,
        typer.Option(
            help="tiny, mini, small, small++, base, large, continue, or a YAML file.  [default: "
            "base; with --init-from continue]",
            autocompletion=completion.presets,
        ),
    ] = None,
    init_from: Annotated[
        str | None,
        typer.Option(
            metavar="RUN|FOLDER|ID",
            help="Start from trained weights: a run, a checkpoint of one, or a Hugging Face folder "
            "or id (model.init_from).",
            autocompletion=completion.runs,
        ),
    ] = None,
    step: Annotated[
        int | None,
        typer.Option(
            min=0, help="Checkpoint of the run to start from.  [default: the newest good one]"
        ),
    ] = None,
    generator: Annotated[
        str | None,
        typer.Option(
            metavar="RUN|FOLDER|ID",
            help="Masked language model to start the generator from (model.generator_from).",
            autocompletion=completion.runs,
        ),
    ] = None,
    data: Data = None,
    replay: Annotated[
        str | None,
        typer.Option(
            metavar="DIR:SHARE",
            help="Older text against forgetting, such as data/old:0.1 (data.replay).",
        ),
    ] = None,
    run_name: Annotated[
        str | None, typer.Option(help="Name under runs/.  [default: preset and date]")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps (run.num_steps).")] = None,
    epochs: Annotated[
        float | None,
        typer.Option(help="Passes over the training text, instead of --steps; 0.5 is half of it."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Windows per optimizer step (run.batch_size).")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak learning rate (optim.learning_rate).")
    ] = None,
    max_seq_length: Annotated[
        int | None, typer.Option(help="Tokens of the longest window (data.max_seq_length).")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto, fp32, bf16 or fp16 (run.precision).")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps (run.device).")
    ] = None,
    probe: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Labelled texts (text, label) or minimal pairs (good, bad) to probe with while "
            "training (run.probes); may be repeated.",
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.KEY=VALUE",
            help="Any option; may be repeated.",
            autocompletion=completion.options,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what the run would be, and stop.")
    ] = False,
    verify_data: VerifyData = False,
    max_minutes: MaxMinutes = None,
    processes: NumProcesses = None,
    as_json: AsJson = False,
) -> None:
    """Pre-train a generator and a discriminator, from random or from trained weights.

    Examples:

      electra train --preset tiny

      electra train --preset small --data data/corpus --run-name first --steps 100000

      electra train --preset small --init-from google/electra-small-discriminator --data data/mine

      electra train --preset large --set optim.adam_beta2=0.98 --dry-run

      electra train --preset base --data data/corpus --processes gpus
    """
    from electra_cli.stopping import stop_request

    named = {
        "model.init_from": init_from,
        "model.generator_from": generator,
        "data.directory": data,
        "data.replay": replay,
        "run.num_steps": steps,
        "run.batch_size": batch_size,
        "optim.learning_rate": learning_rate,
        "data.max_seq_length": max_seq_length,
        "run.precision": precision,
        "run.device": device,
        "run.probes": probe or None,
    }
    # From here on, so that a signal while torch loads counts.
    with stop_request(max_minutes) as stop:
        if processes is not None:
            from electra_cli.commands.launch import launch

            launch(processes, stop)
        from electra_cli.commands.train import train as run
        from electra_cli.commands.train_options import TrainOptions

        run(
            TrainOptions(
                preset=preset or ("continue" if init_from else "base"),
                options={name: value for name, value in named.items() if value is not None},
                assignments=tuple(assignments or ()),
                epochs=epochs,
                run_name=run_name,
                dry_run=dry_run,
                as_json=as_json,
                verify_data=verify_data,
                max_minutes=max_minutes,
                init_step=step,
            )
        )
