"""`electra resume`: continue from a checkpoint."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from electra_cli import console
from electra_cli.commands import finetune
from electra_cli.commands.processes import meet_processes
from electra_cli.config import PretrainConfig
from electra_cli.data.prepared import PreparedData, open_training_data
from electra_cli.disk import as_argument
from electra_cli.errors import RunError
from electra_cli.finetuning.probe_files import open_probes
from electra_cli.locks import hold_run
from electra_cli.presets import load_preset
from electra_cli.run_directory import RunDirectory
from electra_cli.runs.agreement import read_checkpoint, read_config, refuse_differences
from electra_cli.runs.loop import train_to_end
from electra_cli.runs.micro_batch import fit_micro_batch
from electra_cli.runs.out_of_memory import explain_out_of_memory
from electra_cli.runs.rollback import choose_checkpoint, go_back, open_run_folder, refuse_changes
from electra_cli.runs.session import Session, count_model_parameters, open_checkpoints, open_session
from electra_cli.runs.starting import StartingPoint, begin_run, open_starting_point
from electra_cli.runs.trackers import require_trackers
from electra_cli.training.device import Compute, select_compute
from electra_cli.training.processes import Processes


@dataclass(frozen=True)
class ResumeOptions:
    """What `electra resume` was asked for; step 0 is the beginning."""

    root: Path
    step: int | None
    assignments: tuple[str, ...]
    verify_data: bool = False
    processes: str | None = None  # of a fine-tune


def resume(options: ResumeOptions) -> None:
    """Continue from the newest good checkpoint of a run, or from that of a step."""
    if RunDirectory(options.root).is_finetune:
        if options.step is not None or options.verify_data:
            raise RunError(
                f"{options.root} is a fine-tune, which goes on as it began, and compares its "
                "examples always",
                hint=f"leave out --step and --verify-data: electra resume "
                f"{as_argument(options.root)}",
            )
        finetune.resume(options.root, options.assignments, options.processes)
        return
    with meet_processes() as processes, ExitStack() as stack:
        session = processes.together(lambda: _go_back(options, processes, stack))
        train_to_end(session)


def _go_back(options: ResumeOptions, processes: Processes, stack: ExitStack) -> Session:
    """Everything before the first step; `stack` holds what is in use."""
    run, config, data, compute = open_run(options, processes)
    if processes.is_first:
        stack.enter_context(hold_run(run))
    stack.enter_context(explain_out_of_memory(run, config))
    checkpoints = open_checkpoints(run, config)
    step, start = read_checkpoint(
        processes, lambda: choose_checkpoint(run, checkpoints, options.step)
    )
    begins = start is None and config.model.starts_trained  # it has no checkpoint of step 0
    origin = None
    if processes.is_first:
        refuse_changes(run, start, config, data)
        origin = _open_start(config) if begins else None
    probes = open_probes(config, data)
    session = open_session(
        run, config, data, compute, checkpoints, start, probes=probes, processes=processes
    )
    if processes.is_first:
        go_back(session, step, start, is_chosen=options.step is not None)
    if begins:
        begin_run(session, origin)
    console.talk(f"resuming {run.root} from step {step:,} of {config.run.num_steps:,}")
    return session


def _open_start(config: PretrainConfig) -> StartingPoint | None:
    model = config.model
    return open_starting_point(model.init_from, model.generator_from, model.num_attention_heads)


def open_run(
    options: ResumeOptions, processes: Processes
) -> tuple[RunDirectory, PretrainConfig, PreparedData, Compute]:
    """A run's settings with what was asked to change, its data, and what to compute on."""
    run = RunDirectory(options.root)
    config = read_config(processes, lambda: _read_config(options))
    assert config.data.directory is not None
    compute = select_compute(config, processes)
    is_verifying = processes.local_rank == 0  # one process per machine reads it all
    data = open_training_data(config, options.verify_data, is_verifying)
    refuse_differences(processes, config, compute, data)
    processes.use(compute.device)
    processes.watch.go_on = f"go on with: electra resume {as_argument(run.root)}"
    _, num_parameters = count_model_parameters(config, data.manifest.vocab_size)
    return run, fit_micro_batch(config, num_parameters, compute, processes), data, compute


def _read_config(options: ResumeOptions) -> PretrainConfig:
    run = open_run_folder(options.root)
    config = load_preset(str(run.config), assignments=options.assignments)
    if config.data.directory is None:  # train saved it resolved
        raise RunError(
            f"{run.config} names no data: it was changed, or is not whole",
            hint="put it back, or name the data: --set data.directory=FOLDER",
        )
    require_trackers(config.run.report_to)
    return config.with_directory(config.data.directory.resolve())
