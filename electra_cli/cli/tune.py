"""The signature of `electra tune`."""

from typing import Annotated

import typer

from electra_cli.cli.app import AsJson, Data, NumProcesses, Preset, VerifyData


def tune(
    preset: Preset = "tiny",
    data: Data = None,
    trials: Annotated[
        int, typer.Option(min=1, help="Total number of trials; the same command continues a study.")
    ] = 50,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Each trial may spend the FLOPs of N steps of the preset.  [default: its own]",
        ),
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Name under tune/.  [default: the preset's]")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL|FILE",
            help="Where to keep the study: a database, or a journal file for network disks; "
            "several machines can share it.  [default: sqlite:///tune/STUDY.db]",
        ),
    ] = None,
    metric: Annotated[
        str, typer.Option(help="Metric that ranks the trials.")
    ] = "yardstick_rtd_loss",
    pruner: Annotated[str, typer.Option(help="hyperband, median or none.")] = "hyperband",
    verify_data: VerifyData = False,
    processes: NumProcesses = None,
    as_json: AsJson = False,
) -> None:
    """Search hyperparameters with Optuna.

    Every trial is a run that spends the same training FLOPs. Trial 0 is the preset unchanged; its
    generator corrupts the held-out text once, and every discriminator is scored on that text.

    The tune: section of the preset file lists what to search, such as

      tune: {optim.learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}, run.batch_size: [64, 128]}

    Examples:

      electra tune --trials 50

      electra tune --preset small --steps 5000 --study small-short

      electra tune --preset mine.yaml --storage postgresql+psycopg://me@host/studies

      electra tune --processes gpus
    """
    from electra_cli.stopping import stop_request

    if processes is not None:
        with stop_request() as stop:
            from electra_cli.commands.children import run_children

            run_children(processes, trials, stop)
    from electra_cli.commands.tune import TuneOptions
    from electra_cli.commands.tune import tune as run

    run(
        TuneOptions(
            preset=preset,
            data=data,
            trials=trials,
            steps=steps,
            study=study,
            storage=storage,
            metric=metric,
            pruner=pruner,
            verify_data=verify_data,
            as_json=as_json,
        )
    )
