"""`electra resume`: continue from a checkpoint, or repeat the steps before it and compare."""

from dataclasses import dataclass
from pathlib import Path

from electra_cli import console
from electra_cli.commands import finetune
from electra_cli.config import PretrainConfig
from electra_cli.data.prepared import PreparedData, open_training_data
from electra_cli.disk import as_argument
from electra_cli.errors import RunError
from electra_cli.finetuning.opening import is_finetune
from electra_cli.finetuning.probe_files import open_probes
from electra_cli.locks import hold_run
from electra_cli.presets import load_preset
from electra_cli.run_directory import RunDirectory
from electra_cli.runs.loop import train_to_end
from electra_cli.runs.micro_batch import fit_micro_batch
from electra_cli.runs.out_of_memory import explain_out_of_memory
from electra_cli.runs.rollback import (
    choose_checkpoint,
    go_back,
    open_run_folder,
    refuse_changes,
    warn_about_damaged,
)
from electra_cli.runs.session import count_model_parameters, open_checkpoints, open_session
from electra_cli.runs.starting import begin_run, open_starting_point
from electra_cli.runs.trackers import require_trackers
from electra_cli.runs.verification import find_differences, repeat_steps
from electra_cli.training.device import Compute, select_compute


@dataclass(frozen=True)
class ResumeOptions:
    """What `electra resume` was asked for; step 0 is the beginning."""

    root: Path
    step: int | None
    assignments: tuple[str, ...]
    verify_data: bool = False


def resume(options: ResumeOptions) -> None:
    """Continue from the newest good checkpoint of a run, or from that of a step."""
    if is_finetune(options.root):
        if options.step is not None:
            raise RunError(
                f"{options.root} is a fine-tune, which goes on as it began",
                hint=f"electra resume {as_argument(options.root)}",
            )
        finetune.resume(options.root, options.assignments)
        return
    run, config, data, compute = _open_run(options)
    with hold_run(run), explain_out_of_memory(run, config):
        checkpoints = open_checkpoints(run, config)
        step, start = choose_checkpoint(run, checkpoints, options.step)
        refuse_changes(run, start, config, data)
        probes = open_probes(config, data)
        session = open_session(run, config, data, compute, checkpoints, start, probes=probes)
        go_back(session, step, start, is_chosen=options.step is not None)
        if start is None and config.model.starts_trained:  # it stopped before its first checkpoint
            model = config.model
            sources = (model.init_from, model.generator_from)
            begin_run(session, open_starting_point(*sources, model.num_attention_heads))
        console.talk(f"resuming {run.root} from step {step:,} of {config.run.num_steps:,}")
        train_to_end(session)


def verify(options: ResumeOptions) -> None:
    """Repeat the steps from one checkpoint to the next, and compare every bit; writes nothing.

    Raises RunError where they differ.
    """
    run, config, data, compute = _open_run(options)
    checkpoints = open_checkpoints(run, config)
    last, expected = choose_checkpoint(run, checkpoints, options.step)
    before = checkpoints.load_newest(before=last)
    if expected is None or before is None:
        raise RunError(
            f"{run.root} has no checkpoint before step {last:,} to begin at",
            hint="wait for the next checkpoint; run.keep_checkpoints has to be 2 or more",
        )
    warn_about_damaged(before)
    refuse_changes(run, expected, config, data)
    session = open_session(run, config, data, compute, checkpoints, before.checkpoint)
    console.talk(f"repeating steps {before.step + 1:,} to {last:,} of {run.root}")
    differences = find_differences(repeat_steps(session, last, expected.state), expected)
    if differences:
        more = f" and {len(differences) - 1} more" if len(differences) > 1 else ""
        raise RunError(
            f"steps {before.step + 1:,} to {last:,} came out differently: {differences[0]}{more}",
            hint="sums depend on device, threads, micro-batch and torch version "
            "(environment.json); if none of them changed, check the machine's memory",
        )
    console.result(
        f"steps {before.step + 1} to {last} came out the same, bit for bit, in "
        f"{sum(len(named) for named in expected.tensors.values())} tensors"
    )


def _open_run(
    options: ResumeOptions,
) -> tuple[RunDirectory, PretrainConfig, PreparedData, Compute]:
    """A run's settings with what was asked to change, its data, and what to compute on."""
    run = open_run_folder(options.root)
    config = load_preset(str(run.config), assignments=options.assignments)
    assert config.data.directory is not None  # train saved it resolved
    directory = config.data.directory.resolve()
    config = config.with_directory(directory)
    compute = select_compute(config)
    require_trackers(config.run.report_to)
    data = open_training_data(config, options.verify_data)
    _, num_parameters = count_model_parameters(config, data.manifest.vocab_size)
    return run, fit_micro_batch(config, num_parameters, compute), data, compute
