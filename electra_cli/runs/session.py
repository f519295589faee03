"""A run's parts, wired together: data, model, trainer, checkpoints."""

import json
import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

import electra_cli
from electra_cli.batch import Batch
from electra_cli.config import PretrainConfig
from electra_cli.data.batches import evaluation_batches
from electra_cli.data.prepared import PreparedData
from electra_cli.model.cost.flops import training_flops
from electra_cli.model.networks import count_parameters
from electra_cli.model.objectives.electra import Pretrainer
from electra_cli.model.objectives.registry import build_pretrainer
from electra_cli.run_directory import RunDirectory
from electra_cli.runs.training_batches import TrainingBatches
from electra_cli.training.checkpoint import CheckpointManager
from electra_cli.training.device import (
    Precision,
    select_device,
    select_precision,
)
from electra_cli.training.trainer import Trainer, TrainingState


def build_model(config: PretrainConfig, vocab_size: int, pad_id: int) -> Pretrainer:
    """The untrained model; its weights depend on the seed alone."""
    torch.manual_seed(config.run.seed)
    return build_pretrainer(config.model, config.objective, vocab_size, pad_id)


@dataclass
class Session:
    """Everything a training loop uses."""

    run: RunDirectory
    config: PretrainConfig
    data: PreparedData
    trainer: Trainer
    checkpoints: CheckpointManager
    batches: TrainingBatches
    evaluation: list[Batch]

    def close(self) -> None:
        """End the threads; a save under way ends first."""
        self.batches.close()
        self.checkpoints.close()


def open_session(
    run: RunDirectory,
    config: PretrainConfig,
    data: PreparedData,
    device: torch.device,
    precision: Precision,
    checkpoints: CheckpointManager | None = None,
    state: TrainingState | None = None,
) -> Session:
    """Build a run's parts, at its start or where the state of a checkpoint says."""
    vocab_size = data.manifest.vocab_size
    model = build_model(config, vocab_size, data.pad_id)
    if config.run.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    if config.run.compile:
        model.compile_encoders()
    flops = training_flops(config.model, config.objective, vocab_size)
    trainer = Trainer(model, config, flops, device, precision)
    if state is not None:
        trainer.load_state(state)
    held_out = data.reader("validation", config)
    micro_batch_size = config.run.windows_per_pass
    return Session(
        run=run,
        config=config,
        data=data,
        trainer=trainer,
        checkpoints=checkpoints or open_checkpoints(run, config),
        batches=TrainingBatches(
            data.reader("train", config),
            config.run.batch_size,
            state.values if state else {},
            device,
        ),
        evaluation=evaluation_batches(held_out, config.run.num_eval_windows, micro_batch_size),
    )


def open_checkpoints(run: RunDirectory, config: PretrainConfig) -> CheckpointManager:
    """The checkpoints of a run, kept as its config says."""
    return CheckpointManager(run.checkpoints, config.run.keep_checkpoints, config.run.keep_every)


def write_environment(path: Path, device: torch.device, precision: Precision) -> None:
    """Versions, device and git state, for whoever reads the run later."""
    is_gpu = device.type == "cuda"
    facts = {
        "electra": electra_cli.__version__,
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if is_gpu else str(device),
        "precision": precision,
        "threads": torch.get_num_threads(),
    }
    path.write_text(json.dumps(facts, indent=1) + "\n")


def _git_commit() -> str | None:
    """The program's own commit, with `+` for uncommitted changes; None outside a checkout."""
    here = Path(__file__).parent
    command = ("git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=40")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def select_arithmetic(config: PretrainConfig) -> tuple[torch.device, Precision]:
    """The device and precision that the config asks for."""
    device = select_device(config.run.device)
    return device, select_precision(config.run.precision, device)


def count_model_parameters(config: PretrainConfig, vocab_size: int) -> tuple[int, int]:
    """Numbers of (the main network with its head, all networks with shared ones once)."""
    with torch.device("meta"):
        model = build_pretrainer(config.model, config.objective, vocab_size, pad_id=0)
    main = next(iter(model.networks().values()))
    return count_parameters(main), count_parameters(model)
