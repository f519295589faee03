"""How many windows go through a forward pass at a time: as many as memory holds."""

import math

from electra_cli.config import PretrainConfig
from electra_cli.errors import RunError
from electra_cli.model.cost.memory import training_bytes
from electra_cli.runs.passes import can_record
from electra_cli.training.device import Compute
from electra_cli.training.processes import ALONE, Processes

# Tokens of a forward pass beyond which larger products run no faster.
_ENOUGH_TOKENS_ON_CPU = 8_192
_ENOUGH_TOKENS_ON_ACCELERATORS = 65_536
# The share of memory that an estimate may fill.
USABLE_MEMORY_FRACTION = 0.9


def estimate_bytes(
    config: PretrainConfig, num_parameters: int, micro_batch_size: int, compute: Compute
) -> int:
    """Memory of a step with so many windows per forward pass, all of full length."""
    return training_bytes(
        config,
        num_parameters,
        micro_batch_size,
        is_on_cpu=compute.is_on_cpu,
        is_half=compute.is_half,
        has_flash=compute.has_flash,
        is_recorded=can_record(config, compute),
    )


def memory_of_process(compute: Compute, processes: Processes) -> int:
    """Memory that one process may fill; those of a machine without GPUs share it."""
    return compute.memory_bytes() // (processes.local_count if compute.is_on_cpu else 1)


def largest_micro_batch(
    config: PretrainConfig,
    num_parameters: int,
    num_bytes: int,
    compute: Compute,
    most: int | None = None,
) -> int:
    """Windows per forward pass, at `most`, within so many bytes; 1 where not even two are."""
    enough = _ENOUGH_TOKENS_ON_CPU if compute.is_on_cpu else _ENOUGH_TOKENS_ON_ACCELERATORS
    batch_size = config.run.batch_size
    fitting = [
        windows
        for windows in range(2, (most or batch_size) + 1)
        if batch_size % windows == 0
        and windows * config.data.max_seq_length <= enough
        and estimate_bytes(config, num_parameters, windows, compute) <= num_bytes
    ]
    return max(fitting, default=1)


def fit_micro_batch(
    config: PretrainConfig, num_parameters: int, compute: Compute, processes: Processes = ALONE
) -> PretrainConfig:
    """Choose run.micro_batch_size where it is null: what fits into the memory of every process.

    Raises RunError if not even one window fits.
    """
    available = memory_of_process(compute, processes)
    # A checkpoint begins with a copy of weights and moments on the host.
    copied = num_parameters * 12 if compute.is_on_cpu else 0
    # What processes add up lies in one more tensor.
    copied += 0 if processes.is_alone else num_parameters * 4
    usable = int(available * USABLE_MEMORY_FRACTION) - copied
    if config.run.micro_batch_size is None:
        most = math.ceil(config.run.batch_size / processes.count)
        fitting = largest_micro_batch(config, num_parameters, usable, compute, most)
        chosen = min(processes.gather(lambda: fitting))
        run = config.run.model_copy(update={"micro_batch_size": chosen})
        config = config.model_copy(update={"run": run})
    windows = config.run.windows_of_part(processes.count)
    needed = estimate_bytes(config, num_parameters, windows, compute)
    if needed > usable:
        raise RunError(
            f"a step needs about {needed / 2**30:.1f} GB of memory with {windows} windows "
            f"per forward pass; {compute.device} has {available / 2**30:.1f} GB",
            hint="--set run.gradient_checkpointing=true, a shorter --max-seq-length, "
            "a smaller run.micro_batch_size or a smaller --preset",
        )
    return config
