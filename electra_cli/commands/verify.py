"""`electra resume --verify`: repeat the steps before a checkpoint, and compare."""

from electra_cli import console
from electra_cli.commands.processes import meet_processes
from electra_cli.commands.resume import ResumeOptions, open_run
from electra_cli.errors import RunError
from electra_cli.run_directory import RunDirectory
from electra_cli.runs.agreement import read_checkpoint
from electra_cli.runs.out_of_memory import hint_at_less_memory
from electra_cli.runs.rollback import choose_checkpoint, refuse_changes, warn_about_damaged
from electra_cli.runs.session import Session, open_checkpoints, open_session
from electra_cli.runs.verification import find_differences, repeat_steps
from electra_cli.training.checkpoint import Checkpoint
from electra_cli.training.processes import Processes


def verify(options: ResumeOptions) -> None:
    """Repeat the steps from one checkpoint to the next, and compare every bit; writes nothing.

    Raises RunError where they differ.
    """
    if RunDirectory(options.root).is_finetune:
        raise RunError(
            f"{options.root} is a fine-tune, which --verify cannot repeat",
            hint="it repeats the steps of a run that electra train made",
        )
    with meet_processes() as processes:
        _verify(options, processes)


def _verify(options: ResumeOptions, processes: Processes) -> None:
    session, expected = processes.together(lambda: _open_before(options, processes))
    last, first = expected.state.trainer.step, session.trainer.step + 1
    console.talk(f"repeating steps {first:,} to {last:,} of {session.run.root}")
    # Not fewer windows per pass: sums in another order would differ.
    with hint_at_less_memory(session.config.run.windows_per_pass, "free some, or verify elsewhere"):
        found = repeat_steps(session, last, expected.state)
    differences = find_differences(found, expected)
    if differences:
        processes.leave_to_first()
        more = f" and {len(differences) - 1} more" if len(differences) > 1 else ""
        then = expected.state.num_processes
        topology = f", and {then} processes trained them, not {processes.count}"
        raise RunError(
            f"steps {first:,} to {last:,} came out differently: {differences[0]}{more}"
            + (topology if then != processes.count else ""),
            hint="a GPU adds gradients in no fixed order unless run.deterministic is true; "
            "elsewhere sums depend on device, threads, micro-batch, processes and torch version "
            "(environment.json); or check the machine's memory",
        )
    console.result(
        f"steps {first} to {last} came out the same, bit for bit, in "
        f"{sum(len(named) for named in expected.tensors.values())} tensors"
    )


def _open_before(options: ResumeOptions, processes: Processes) -> tuple[Session, Checkpoint]:
    """The run at the checkpoint before the last one, or before that of a step; and that one."""
    run, config, data, compute = open_run(options, processes)
    checkpoints = open_checkpoints(run, config)

    def read_before(last: int) -> tuple[int, Checkpoint | None]:
        loaded = checkpoints.load_newest(before=last)
        if loaded is None:
            return 0, None
        warn_about_damaged(loaded)
        return loaded.step, loaded.checkpoint

    last, expected = read_checkpoint(
        processes, lambda: choose_checkpoint(run, checkpoints, options.step)
    )
    _, before = read_checkpoint(processes, lambda: read_before(last))
    if expected is None or before is None:
        raise RunError(
            f"{run.root} has no checkpoint before step {last:,} to begin at",
            hint="wait for the next checkpoint; run.keep_checkpoints has to be 2 or more",
        )
    if processes.is_first:
        refuse_changes(run, expected, config, data)
    session = open_session(run, config, data, compute, checkpoints, before, processes=processes)
    return session, expected
