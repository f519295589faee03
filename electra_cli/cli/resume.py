"""The signature of `electra resume`."""

from typing import Annotated

import typer

from electra_cli import completion
from electra_cli.cli.app import MaxMinutes, NumProcesses, RunDir, VerifyData


def resume(
    run_dir: RunDir,
    step: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Checkpoint to go on from, 0: the beginning.  [default: the newest good one]",
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.KEY=VALUE",
            help="An option that does not change what is computed, such as run.micro_batch_size.",
            autocompletion=completion.changeable_options,
        ),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Only repeat the steps before the checkpoint, and check that the result is the "
            "same.",
        ),
    ] = False,
    verify_data: VerifyData = False,
    max_minutes: MaxMinutes = None,
    processes: NumProcesses = None,
) -> None:
    """Continue a run exactly where it stopped.

    Examples:

      electra resume runs/first

      electra resume runs/first --set run.micro_batch_size=16 --max-minutes 230

      electra resume runs/first --verify
    """
    from electra_cli.stopping import stop_request

    with stop_request(max_minutes) as stop:
        if processes is not None:
            from electra_cli.commands.launch import launch
            from electra_cli.run_directory import RunDirectory

            if not RunDirectory(run_dir).is_finetune:
                launch(processes, stop)
        from electra_cli.commands import resume as command
        from electra_cli.commands.verify import verify as verify_run

        run = verify_run if verify else command.resume
        run(command.ResumeOptions(run_dir, step, tuple(assignments or ()), verify_data, processes))
