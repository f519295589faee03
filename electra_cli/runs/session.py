"""A run's parts, wired together: data, model, trainer, checkpoints."""

import errno
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from electra_cli.batch import Batch
from electra_cli.config import PretrainConfig, Section
from electra_cli.data.batches import evaluation_batches
from electra_cli.data.prepared import PreparedData
from electra_cli.disk import as_argument, sync_to_disk
from electra_cli.errors import RunError
from electra_cli.metrics import UNIGRAM_ENTROPY, Metrics
from electra_cli.model.networks import count_parameters
from electra_cli.model.objectives.objective import Objective
from electra_cli.model.objectives.registry import build_objective
from electra_cli.presets import save_config
from electra_cli.probing.probes import Probes
from electra_cli.run_directory import FINETUNE_FOLDER, RUNS_FOLDER, RunDirectory
from electra_cli.runs.environment import write_environment
from electra_cli.runs.loggers import RunLogger, build_loggers
from electra_cli.runs.passes import choose_passes
from electra_cli.runs.training_batches import TrainingBatches
from electra_cli.training.checkpoint import Checkpoint, CheckpointManager
from electra_cli.training.device import Compute
from electra_cli.training.processes import ALONE, Processes
from electra_cli.training.run_state import BatchesState
from electra_cli.training.trainer import Trainer


@dataclass(frozen=True)
class Session:
    """Everything a training loop uses."""

    run: RunDirectory
    config: PretrainConfig
    data: PreparedData
    compute: Compute
    trainer: Trainer[Objective]
    checkpoints: CheckpointManager
    batches: TrainingBatches
    evaluation: Sequence[Batch]  # held-out windows; none where no document is held out
    probes: Probes | None
    loggers: Sequence[RunLogger]  # where rows of the log go; none but in the first process
    processes: Processes

    def evaluate(self, is_probed: bool) -> Metrics:
        """Held-out metrics, with those of the probes where it is their turn."""
        held_out = self.trainer.evaluate(self.evaluation)
        held_out[UNIGRAM_ENTROPY] = self.data.manifest.unigram_entropy
        if self.probes and is_probed:
            held_out |= self.probes.measure(self.trainer.model, self.compute, self.processes)
        return held_out

    def close(self) -> None:
        """End the threads; a save under way ends first, and rows under way reach the trackers."""
        self.batches.close()
        self.checkpoints.close()
        for logger in self.loggers:
            logger.close()


def open_session(
    run: RunDirectory,
    config: PretrainConfig,
    data: PreparedData,
    compute: Compute,
    checkpoints: CheckpointManager | None = None,
    start: Checkpoint | None = None,
    evaluation: Sequence[Batch] | None = None,
    probes: Probes | None = None,
    processes: Processes = ALONE,
) -> Session:
    """Build a run's parts, at its start or where a checkpoint says.

    `evaluation` takes the place of the run's own held-out windows.
    """
    model = build_model(config, data.manifest.vocab_size, data.pad_id)
    choose_passes(model, config, compute, processes)
    trainer = Trainer(model, config, compute, processes)
    if start is not None:
        trainer.load(start.tensors, start.state.trainer)
    return Session(
        run=run,
        config=config,
        data=data,
        compute=compute,
        trainer=trainer,
        checkpoints=checkpoints or open_checkpoints(run, config),
        batches=TrainingBatches(
            data.reader("train", config),
            config,
            BatchesState() if start is None else start.state.batches,
            compute.device,
            data.replay(config),
            processes,
        ),
        evaluation=held_out_batches(config, data) if evaluation is None else evaluation,
        probes=probes,
        loggers=build_loggers(run, config) if processes.is_first else (),
        processes=processes,
    )


def held_out_batches(config: PretrainConfig, data: PreparedData) -> list[Batch]:
    """The held-out windows that a run is evaluated on."""
    reader = data.reader("validation", config)
    return evaluation_batches(reader, config.run.num_eval_windows, config.run.windows_per_pass)


def build_model(config: PretrainConfig, vocab_size: int, pad_id: int) -> Objective:
    """The untrained model; its weights depend on the seed alone."""
    torch.manual_seed(config.run.seed)
    return build_objective(config.model, config.objective, vocab_size, pad_id)


def open_checkpoints(run: RunDirectory, config: PretrainConfig) -> CheckpointManager:
    """The checkpoints of a run, kept as its config says."""
    return CheckpointManager(
        run.checkpoints,
        config.run.keep_checkpoints,
        config.run.keep_every,
        keep_first=config.model.starts_trained,  # what it started from may be gone some day
    )


def count_model_parameters(config: PretrainConfig, vocab_size: int) -> tuple[int, int]:
    """Numbers of (the main network with its head, all networks with shared ones once)."""
    with torch.device("meta"):
        model = build_objective(config.model, config.objective, vocab_size, pad_id=0)
    return count_parameters(model.networks()[model.main_network]), count_parameters(model)


def refuse_existing(root: Path) -> None:
    """Raise RunError if a run's folder is there, and not empty, or if its name names none."""
    if root in (RUNS_FOLDER, FINETUNE_FOLDER) or root.name == "..":
        raise RunError(f"{root} is the folder of all runs, or above it", hint="give a run a name")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise _exists(root)


def _exists(root: Path) -> RunError:
    return RunError(
        f"{root} is there already",
        hint=f"choose another --run-name, or: electra resume {as_argument(root)}",
    )


def create_run(
    root: Path,
    config: Section,
    compute: Compute,
    is_default: bool = False,
    processes: Processes = ALONE,
) -> RunDirectory:
    """Create a run folder with its settings, atomically; refuse one that is not empty.

    Where nobody chose the name (`is_default`), NAME-2, NAME-3 and so on take its place.
    """
    name, number = root.name, 1
    partial = RunDirectory(root.with_name(f".{root.name}.{os.getpid()}.partial"))
    try:
        partial.root.mkdir(parents=True)
        save_config(config, partial.config)
        write_environment(partial.environment, compute, processes)
        while not _rename_to_free(partial.root, root):
            if not is_default:
                raise _exists(root)
            number += 1
            root = root.with_name(f"{name}-{number}")
        sync_to_disk(root.parent)
    except OSError as error:
        raise RunError(
            f"{root} cannot be made: {error.strerror}",
            hint="choose another --run-name, or a current folder that you may write to",
        ) from None
    finally:
        shutil.rmtree(partial.root, ignore_errors=True)
    return RunDirectory(root)


def _rename_to_free(folder: Path, name: Path) -> bool:
    """Rename a folder, unless another process has that name; whether it was free."""
    if name.exists() and not name.is_dir():
        return False
    try:
        folder.rename(name)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            return False
        raise
    return True
