"""`electra finetune`: labelled data in, judged models out; and how to go on with one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from electra_cli import console
from electra_cli.disk import write_bytes_atomically
from electra_cli.errors import RunError
from electra_cli.finetuning.encoders import open_encoders
from electra_cli.finetuning.labelled import load_labelled
from electra_cli.finetuning.loop import finetune_to_end
from electra_cli.finetuning.plan import show_plan, warnings_of
from electra_cli.finetuning.recipe import recipe_of
from electra_cli.finetuning.session import FinetuneSession, build_inputs, list_jobs
from electra_cli.finetuning.settings import FinetuneConfig, FinetuneRecipe
from electra_cli.locks import hold_run
from electra_cli.model.layers.flash_attention import can_run_flash_attention
from electra_cli.presets import load_recipe
from electra_cli.run_directory import RunDirectory
from electra_cli.runs.session import create_run, refuse_existing
from electra_cli.training.device import DTYPES, Compute, select_device, select_precision

FINETUNE_FOLDER = Path("finetune")
_FILES = ("train", "validation", "test", "data")
_INPUTS_NAME = "inputs.json"  # fingerprints of what is learned from


@dataclass(frozen=True)
class FinetuneOptions:
    """What `electra finetune` was asked for; `options` maps finetune.key to a value."""

    preset: str | None
    options: Mapping[str, Any]
    assignments: tuple[str, ...]
    run_name: str | None
    dry_run: bool


def finetune(options: FinetuneOptions) -> None:
    """Fine-tune encoders in a new folder."""
    recipe = load_recipe(FinetuneRecipe, options.preset, options.options, options.assignments)
    config = _with_whole_paths(recipe.finetune)
    name = options.run_name or f"{_short_name(config)}-{datetime.now():%Y-%m-%d-%H%M%S}"
    root = FINETUNE_FOLDER / name
    if not options.dry_run:
        refuse_existing(root)  # now, not after minutes of reading
    session = _open_session(RunDirectory(root), config)
    show_plan(session)
    for problem, hint in warnings_of(session):
        console.warn(problem, hint)
    if options.dry_run:
        console.hint("this was a dry run; leave --dry-run out to fine-tune")
        return
    run = create_run(root, FinetuneRecipe(finetune=config), session.compute)
    with hold_run(run):
        _write_fingerprints(session)
        finetune_to_end(session)


def resume(root: Path) -> None:
    """Go on with a fine-tune that was stopped, bit for bit on a CPU."""
    run = RunDirectory(root)
    config = load_recipe(FinetuneRecipe, str(run.config), {}).finetune
    with hold_run(run):
        session = _open_session(run, config)
        _compare_fingerprints(session)
        done = sum(job.is_done for job in session.jobs)
        console.talk(f"resuming {root}: {done} of {len(session.jobs)} fine-tunes are done")
        finetune_to_end(session)


def is_finetune(root: Path) -> bool:
    """Whether a folder is one of `electra finetune`."""
    return (root / _INPUTS_NAME).is_file()


def _open_session(root: RunDirectory, config: FinetuneConfig) -> FinetuneSession:
    if not config.encoders:
        raise RunError("there is no encoder to fine-tune", hint="name a run: runs/NAME")
    data = load_labelled(config)
    device = select_device(config.device)
    precision = select_precision(config.precision, device)
    encoders = open_encoders(config.encoders)
    inputs = [build_inputs(data, each, recipe_of(config, data.task, each)) for each in encoders]
    heads = {int(e.weights.config.num_attention_heads): e.weights.width for e in encoders}
    has_flash = all(
        can_run_flash_attention(device, DTYPES[precision], width // count)
        for count, width in heads.items()
    )
    compute = Compute(device, precision, has_flash)
    jobs = list_jobs(root, config, inputs)
    return FinetuneSession(root, config, data, compute, jobs, data.sha256())


def _with_whole_paths(config: FinetuneConfig) -> FinetuneConfig:
    """Files and folders by their full names, so that a resume works from anywhere."""

    def whole(name: str) -> str:
        path = Path(name).expanduser()
        return str(path.resolve()) if path.exists() else name

    named = {n: whole(v) for n in _FILES if (v := getattr(config, n)) is not None}
    return config.model_copy(update={**named, "encoders": tuple(map(whole, config.encoders))})


def _short_name(config: FinetuneConfig) -> str:
    """The task's, or the training file's, without endings."""
    if config.train is None:
        return config.task.replace("/", "-")
    return Path(config.train).name.split(".")[0] or "finetune"


def _fingerprints(session: FinetuneSession) -> dict[str, Any]:
    encoders = {job.inputs.encoder.label: job.inputs.encoder for job in session.jobs}
    return {
        "data_sha256": session.data_sha256,
        "encoders_sha256": {label: each.sha256() for label, each in encoders.items()},
    }


def _write_fingerprints(session: FinetuneSession) -> None:
    content = json.dumps(_fingerprints(session), indent=1) + "\n"
    write_bytes_atomically(session.root.root / _INPUTS_NAME, content.encode())


def _compare_fingerprints(session: FinetuneSession) -> None:
    known = json.loads((session.root.root / _INPUTS_NAME).read_text())
    found = _fingerprints(session)
    for name, what in (("data_sha256", "labelled examples"), ("encoders_sha256", "encoders")):
        if known.get(name) != found[name]:
            raise RunError(
                f"the {what} are no longer those that {session.root.root} began with",
                hint="put them back, or begin a new fine-tune: electra finetune",
            )
