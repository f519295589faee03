"""`electra finetune`: labelled data in, judged models out; and how to go on with one."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from electra_cli import console
from electra_cli.commands.finetune_parts import part_of_this_process, train_beside
from electra_cli.commands.processes_option import count_processes
from electra_cli.errors import RunError
from electra_cli.finetuning.loop import finetune_to_end
from electra_cli.finetuning.opening import (
    compare_fingerprints,
    open_session,
    with_whole_paths,
    write_fingerprints,
)
from electra_cli.finetuning.plan import make_plan, show_plan, warnings_of
from electra_cli.finetuning.report import REPORT_NAME
from electra_cli.finetuning.settings import FinetuneConfig, FinetuneRecipe, refuse_idle
from electra_cli.locks import hold_run
from electra_cli.presets import load_recipe
from electra_cli.run_directory import FINETUNE_FOLDER, RunDirectory
from electra_cli.runs.plan import end_dry_run
from electra_cli.runs.session import create_run, refuse_existing
from electra_cli.runs.trackers import require_trackers


@dataclass(frozen=True)
class FinetuneOptions:
    """What `electra finetune` was asked for; `options` maps finetune.key to a value."""

    preset: str | None
    options: Mapping[str, Any]
    assignments: tuple[str, ...]
    run_name: str | None
    dry_run: bool
    as_json: bool
    processes: str | None = None
    max_minutes: float | None = None


def finetune(options: FinetuneOptions) -> None:
    """Fine-tune encoders in a new folder."""
    recipe = load_recipe(FinetuneRecipe, options.preset, options.options, options.assignments)
    config = with_whole_paths(recipe.finetune)
    require_trackers(config.report_to)
    num_processes = count_processes(options.processes)
    name = options.run_name or f"{_short_name(config)}-{datetime.now():%Y-%m-%d-%H%M%S}"
    root = FINETUNE_FOLDER / name
    if options.run_name is not None:
        refuse_existing(root)  # now, not after minutes of reading
    session = open_session(RunDirectory(root), config)
    refuse_idle(config, session.data.task.name)
    plan, warnings = make_plan(session, num_processes), warnings_of(session)
    if options.dry_run and options.as_json:
        console.result_json({**asdict(plan), "warnings": [problem for problem, _ in warnings]})
        return
    show_plan(plan)
    for problem, hint in warnings:
        console.warn(problem, hint)
    if options.dry_run:
        seconds = sum(each.seconds for each in plan.encoders)
        named = None if options.run_name is None else root
        end_dry_run("fine-tune", named, seconds, options.max_minutes)
        return
    is_default = options.run_name is None
    run = create_run(root, FinetuneRecipe(finetune=config), session.compute, is_default)
    if run.root != root:  # another one took the name meanwhile
        session = open_session(run, config)
    with hold_run(run):
        write_fingerprints(session)
        train_beside(session, num_processes)
        finetune_to_end(session)
    if options.as_json:
        console.result((run.root / REPORT_NAME).read_text().removesuffix("\n"))
    else:
        console.result(run.root)


def resume(root: Path, assignments: Sequence[str], processes: str | None = None) -> None:
    """Go on with a fine-tune that was stopped, bit for bit on a CPU.

    Raises RunError for assignments that would change what is learned.
    """
    num_processes = count_processes(processes)
    run = RunDirectory(root)
    began = load_recipe(FinetuneRecipe, str(run.config), {}).finetune
    config = load_recipe(FinetuneRecipe, str(run.config), {}, assignments).finetune
    if config != began.model_copy(update={"micro_batch_size": config.micro_batch_size}):
        raise RunError(
            f"{root} is a fine-tune, which goes on as it began",
            hint="only finetune.micro_batch_size may change, for less memory",
        )
    part = part_of_this_process()
    if part is not None:  # the process that started this one holds the folder
        session = open_session(run, config)
        compare_fingerprints(session)
        finetune_to_end(session, part)
        return
    with hold_run(run):
        session = open_session(run, config)
        compare_fingerprints(session)
        done = sum(job.is_done for job in session.jobs)
        console.talk(f"resuming {root}: {done} of {len(session.jobs)} fine-tunes are done")
        train_beside(session, num_processes)
        finetune_to_end(session)
    console.result(root)


def _short_name(config: FinetuneConfig) -> str:
    """The task's, or the training file's, without endings."""
    if config.train is None:
        return config.task.replace("/", "-")
    return Path(config.train).name.split(".")[0] or "finetune"
