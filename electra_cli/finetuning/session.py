"""A fine-tune's parts, wired together: examples, encoders, one training run per seed."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from electra_cli import console
from electra_cli.data.tokenizer import fingerprint
from electra_cli.disk import replace_folder
from electra_cli.errors import RunError
from electra_cli.finetuning.batches import FinetuneBatches, scoring_batches, split_outputs
from electra_cli.finetuning.encoders import Encoder
from electra_cli.finetuning.inputs import InputBuilder, InputCounts, Window
from electra_cli.finetuning.labelled import TRAIN, LabelledData
from electra_cli.finetuning.predictions import Predictions
from electra_cli.finetuning.recipe import Recipe
from electra_cli.finetuning.settings import FinetuneConfig
from electra_cli.model.finetune_model import FinetuneModel, packed_logits
from electra_cli.model.heads import HeadKind, build_network
from electra_cli.run_directory import RunDirectory
from electra_cli.training.checkpoint import Checkpoint, CheckpointManager
from electra_cli.training.device import Compute
from electra_cli.training.run_state import BatchesState
from electra_cli.training.trainer import Trainer

_SCORED_AT_ONCE = 64  # windows
_OUTPUTS = "outputs"


@dataclass(frozen=True)
class Inputs:
    """The windows of every split, as one encoder's tokenizer cuts them."""

    encoder: Encoder
    recipe: Recipe
    windows: dict[str, list[Window]]
    targets: list[Any]  # of the training windows
    counts: dict[str, InputCounts]

    @property
    def num_steps(self) -> int:
        """Of one fine-tune."""
        return self.recipe.num_steps(len(self.windows[TRAIN]))


@dataclass(frozen=True)
class Job:
    """One training run: an encoder, or its twin with random weights, and a seed."""

    inputs: Inputs
    is_trained: bool
    seed: int
    run: RunDirectory

    @property
    def name(self) -> str:
        """For people."""
        twin = "" if self.is_trained else " (random weights)"
        return f"{self.inputs.encoder.label}{twin}, seed {self.seed}"

    @property
    def twin(self) -> tuple[object, ...] | None:
        """Equal where two jobs train the same random network on the same inputs."""
        if self.is_trained:
            return None
        encoder, recipe = self.inputs.encoder, self.inputs.recipe
        return encoder.weights.shape(), fingerprint(encoder.tokenizer), recipe, self.seed

    @property
    def outputs(self) -> Path:
        """Folder of what the trained model says of every split: its presence ends the job."""
        return self.run.root / _OUTPUTS

    @property
    def is_done(self) -> bool:
        """Whether it was trained to its end, and scored."""
        return self.outputs.is_dir()


@dataclass(frozen=True)
class FinetuneSession:
    """All jobs of one command."""

    root: RunDirectory
    config: FinetuneConfig
    data: LabelledData
    compute: Compute
    jobs: Sequence[Job]
    data_sha256: str  # a resume must learn from the same examples

    def folder_of(self, encoder: Encoder) -> Path:
        """Where an encoder's results go: at the top where there is one alone."""
        alone = len({job.inputs.encoder.label for job in self.jobs}) == 1
        return self.root.root if alone else self.root.root / encoder.label


def build_inputs(data: LabelledData, encoder: Encoder, recipe: Recipe) -> Inputs:
    """Tokenize all splits for an encoder."""
    windows: dict[str, list[Window]] = {}
    counts: dict[str, InputCounts] = {}
    for name, examples in data.splits.items():
        builder = InputBuilder(encoder.tokenizer, recipe.max_seq_length)
        windows[name] = data.task.windows(examples, builder)
        counts[name] = builder.counts
        counts[name].examples = len(examples)
        if encoder.window is not None:
            beyond = sum(len(window.ids) > encoder.window for window in windows[name])
            counts[name].beyond = beyond
    train = data.splits[TRAIN]
    targets = [data.task.targets(window, train[window.example]) for window in windows[TRAIN]]
    enough = recipe.with_enough_steps(len(windows[TRAIN]))
    return Inputs(encoder, enough, windows, targets, counts)


def list_jobs(root: RunDirectory, config: FinetuneConfig, inputs: Sequence[Inputs]) -> list[Job]:
    """Every encoder with every seed, and its twin right after it."""
    jobs = []
    for each in inputs:
        for seed in config.seeds:
            for is_trained in (True, False)[: 2 if config.untrained_twin else 1]:
                name = f"seed-{seed}" if is_trained else f"random-weights-seed-{seed}"
                run = RunDirectory(root.root / "runs" / each.encoder.label / name)
                jobs.append(Job(each, is_trained, seed, run))
    return jobs


@dataclass(frozen=True)
class TrainingRun:
    """What the loop uses for one job."""

    job: Job
    trainer: Trainer[FinetuneModel]
    batches: FinetuneBatches
    checkpoints: CheckpointManager


def open_job(session: FinetuneSession, job: Job) -> TrainingRun:
    """Build a job's parts, at its start or where its newest checkpoint says."""
    task, inputs = session.data.task, job.inputs
    spec = inputs.recipe.head(task)
    network = build_network(inputs.encoder.weights, spec, job.seed, job.is_trained)
    network.config.update({"max_seq_length": inputs.recipe.max_seq_length, **task.settings()})
    model = FinetuneModel(network, task.kind, task.losses, inputs.recipe.layer_rates)
    trainer = Trainer(model, inputs.recipe.training(len(inputs.windows[TRAIN])), session.compute)
    torch.manual_seed(job.seed)  # of dropout
    checkpoints = CheckpointManager(job.run.checkpoints, keep=1)
    state = BatchesState()
    start = _find_checkpoint(checkpoints)
    if start is not None:
        trainer.load(start.tensors, start.state.trainer)
        state = start.state.batches
    job.run.root.mkdir(parents=True, exist_ok=True)
    job.run.truncate_log(trainer.step)
    batches = FinetuneBatches(
        inputs.windows[TRAIN], inputs.targets, session.config.batch_size, job.seed, state
    )
    return TrainingRun(job, trainer, batches, checkpoints)


def _find_checkpoint(checkpoints: CheckpointManager) -> Checkpoint | None:
    """Where a job stopped. A damaged checkpoint costs the job's steps, and changes no result."""
    try:
        loaded = checkpoints.load_newest()
    except RunError as error:
        console.warn(str(error), "nothing to do: this fine-tune begins again, with the same result")
        return None
    return None if loaded is None else loaded.checkpoint


@torch.no_grad()
def run_network(
    network: Any, kind: HeadKind, windows: Sequence[Window], compute: Compute
) -> torch.Tensor:
    """The outputs of all windows one after the other, without dropout, on the host."""
    was_training = network.training
    network.eval()
    outputs = []
    for batch in scoring_batches(windows, _SCORED_AT_ONCE):
        with compute.autocast():
            outputs.append(packed_logits(network, kind, batch.to(compute.device)).cpu())
    network.train(was_training)
    return torch.cat(outputs)


def save_outputs(job: Job, network: Any, kind: HeadKind, compute: Compute) -> None:
    """Score every split; the folder appears whole."""
    splits = {
        name: run_network(network, kind, windows, compute)
        for name, windows in job.inputs.windows.items()
        if name != TRAIN
    }
    if not all(outputs.isfinite().all() for outputs in splits.values()):
        raise RunError(
            f"{job.name}: the trained model answers with numbers that are not finite",
            hint="begin again with a lower --learning-rate, or --set finetune.precision=fp32",
        )
    with replace_folder(job.outputs) as partial:
        save_file(splits, partial / f"{_OUTPUTS}.safetensors")


def load_predictions(session: FinetuneSession, job: Job) -> dict[str, Predictions]:
    """What a job that is done says of every scored split."""
    outputs = load_file(job.outputs / f"{_OUTPUTS}.safetensors")
    task = session.data.task
    return {
        name: task.predictions(
            session.data.splits[name],
            windows,
            split_outputs(outputs[name], windows, is_per_token=task.kind == "span"),
        )
        for name, windows in job.inputs.windows.items()
        if name != TRAIN
    }


def unfinished(jobs: Sequence[Job]) -> Iterator[Job]:
    """Those that are still to train; a twin that equals one that is done gets its outputs."""
    done: dict[tuple[object, ...], Job] = {}
    for job in jobs:
        twin = job.twin
        if twin is not None and not job.is_done and twin in done:
            with replace_folder(job.outputs) as partial:
                shutil.copytree(done[twin].outputs, partial, dirs_exist_ok=True)
        if not job.is_done:
            yield job
        if twin is not None:
            done.setdefault(twin, job)


def distinct(jobs: Sequence[Job]) -> list[Job]:
    """Those that are trained: of equal twins the first."""
    firsts: dict[object, Job] = {}
    for job in jobs:
        firsts.setdefault(job.twin or job.run.root, job)
    return list(firsts.values())
