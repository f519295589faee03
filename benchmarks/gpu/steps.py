"""What is asked of a GPU is asked of steps: a recipe, a trainer of it, and what they leave."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from benchmarks.batches import PAD_ID, VOCAB_SIZE, Shape, make_batch
from benchmarks.gpu.machine import Machine
from electra_cli.batch import Batch
from electra_cli.config import PretrainConfig
from electra_cli.model.objectives.registry import build_objective
from electra_cli.presets import with_options
from electra_cli.runs.passes import choose_passes
from electra_cli.training.device import Precision
from electra_cli.training.processes import ALONE, Processes
from electra_cli.training.trainer import Trainer

TINY_SIZES = {
    "model.hidden_size": 32,
    "model.num_attention_heads": 2,
    "model.intermediate_size": 64,
    "model.embedding_size": 16,
}


def make_recipe(
    machine: Machine, options: dict[str, object] | None = None, dropout: float = 0.0
) -> tuple[PretrainConfig, Batch]:
    """Two layers as wide as small's, on windows of mixed lengths."""
    shape = Shape("small", 4, 16) if machine.is_tiny else Shape("small", 16, 128)
    sizes: dict[str, object] = {
        "model.num_hidden_layers": 1 + (not machine.is_tiny),
        "optim.num_warmup_steps": 0,
    }
    if machine.is_tiny:
        sizes |= TINY_SIZES
    config = with_options(shape.config(dropout), {**sizes, **(options or {})}, "")
    return config, make_batch(config, shape.lengths(mixed=True))


def make_trainer(
    machine: Machine,
    config: PretrainConfig,
    precision: Precision,
    processes: Processes = ALONE,
) -> Trainer:
    """As open_session makes it."""
    torch.manual_seed(0)
    model = build_objective(config.model, config.objective, VOCAB_SIZE, PAD_ID)
    compute = machine.compute(precision)
    choose_passes(model, config, compute, processes)
    return Trainer(model, config, compute, processes)


def weights_of(trainer: Trainer) -> Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


@contextmanager
def host_waits(machine: Machine) -> Iterator[list[str]]:
    """What made the host wait for the device, as torch tells it."""
    found: list[str] = []
    if machine.device.type != "cuda":
        yield found
        return
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield found
    finally:
        torch.cuda.set_sync_debug_mode("default")
    found += [
        f"{each.filename}:{each.lineno}" for each in caught if "synchron" in str(each.message)
    ]
