"""Open a fine-tune: its data, encoders and jobs, and what they were when it began."""

import json
from typing import Any, Literal

from electra_cli.config import PretrainConfig, RunConfig
from electra_cli.disk import whole_path, write_bytes_atomically
from electra_cli.errors import RunError
from electra_cli.finetuning.encoders import open_encoders
from electra_cli.finetuning.labelled import load_labelled
from electra_cli.finetuning.recipe import recipe_of
from electra_cli.finetuning.session import FinetuneSession, build_inputs, list_jobs
from electra_cli.finetuning.settings import FinetuneConfig
from electra_cli.run_directory import RunDirectory
from electra_cli.training.device import Compute, select_compute

_FILES = ("train", "validation", "test", "data")
_INPUTS_NAME = "inputs.json"  # fingerprints of what is learned from


def open_session(root: RunDirectory, config: FinetuneConfig) -> FinetuneSession:
    """Read and tokenize everything. Raises UserError for all that cannot be used."""
    if not config.encoders:
        raise RunError("there is no encoder to fine-tune", hint="name a run: runs/NAME")
    data = load_labelled(config)
    compute = compute_of(config.device, config.precision)
    encoders = open_encoders(config.encoders, config.layers)
    inputs = [build_inputs(data, each, recipe_of(config, data.task, each)) for each in encoders]
    jobs = list_jobs(root, config, inputs)
    return FinetuneSession(root, config, data, compute, jobs, data.sha256())


def compute_of(device: str, precision: Literal["auto", "fp32", "bf16", "fp16"]) -> Compute:
    """What a run with these options would compute on."""
    return select_compute(PretrainConfig(run=RunConfig(device=device, precision=precision)))


def with_whole_paths(config: FinetuneConfig) -> FinetuneConfig:
    """Files and folders by their full names, so that a resume works from anywhere."""
    named = {n: whole_path(v) for n in _FILES if (v := getattr(config, n)) is not None}
    return config.model_copy(update={**named, "encoders": tuple(map(whole_path, config.encoders))})


def _fingerprints(session: FinetuneSession) -> dict[str, Any]:
    encoders = {job.inputs.encoder.label: job.inputs.encoder for job in session.jobs}
    return {
        "data_sha256": session.data_sha256,
        "encoders_sha256": {label: each.sha256() for label, each in encoders.items()},
    }


def write_fingerprints(session: FinetuneSession) -> None:
    """Keep what a resume must find again."""
    content = json.dumps(_fingerprints(session), indent=1) + "\n"
    write_bytes_atomically(session.root.root / _INPUTS_NAME, content.encode())


def compare_fingerprints(session: FinetuneSession) -> None:
    """Raise RunError if the examples or the encoders are others than at the beginning."""
    path = session.root.root / _INPUTS_NAME
    if not path.is_file():  # killed before anything was trained
        write_fingerprints(session)
        return
    known = json.loads(path.read_text())
    found = _fingerprints(session)
    for name, what in (("data_sha256", "labelled examples"), ("encoders_sha256", "encoders")):
        if known.get(name) != found[name]:
            raise RunError(
                f"the {what} are no longer those that {session.root.root} began with",
                hint="put them back, or begin a new fine-tune: electra finetune",
            )
