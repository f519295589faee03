"""How many windows go through a forward pass at a time: as many as memory holds."""

import torch

from electra_cli.config import PretrainConfig
from electra_cli.errors import RunError
from electra_cli.model.cost.memory import training_bytes
from electra_cli.model.layers.flash_attention import can_run_flash_attention
from electra_cli.training.device import DTYPES, Precision, memory_bytes

# Tokens of a forward pass beyond which larger products run no faster.
_ENOUGH_TOKENS = {"cpu": 8_192}
_ENOUGH_TOKENS_ON_ACCELERATORS = 65_536
# The share of memory that an estimate may fill.
USABLE_MEMORY_FRACTION = 0.9


def estimate_bytes(
    config: PretrainConfig,
    num_parameters: int,
    micro_batch_size: int,
    device_type: str,
    precision: Precision,
    runs_flash_attention: bool,
) -> int:
    """Memory of a step with so many windows a forward pass, all of full length."""
    return training_bytes(
        config.model,
        config.objective,
        num_parameters,
        micro_batch_size * config.data.max_seq_length,
        config.data.max_seq_length,
        is_on_cpu=device_type == "cpu",
        is_half_precision=precision != "fp32",
        runs_flash_attention=runs_flash_attention,
        gradient_checkpointing=config.run.gradient_checkpointing,
    )


def runs_flash_attention(
    config: PretrainConfig, device: torch.device, precision: Precision
) -> bool:
    """Whether attention keeps no probabilities."""
    return can_run_flash_attention(device, DTYPES[precision], config.model.head_size)


def largest_micro_batch(
    config: PretrainConfig,
    num_parameters: int,
    device_type: str,
    fits: int,
    precision: Precision,
    runs_flash_attention: bool,
) -> int:
    """Windows a forward pass, within `fits` bytes; 1 where not even two are."""
    run = config.run
    most = _ENOUGH_TOKENS.get(device_type, _ENOUGH_TOKENS_ON_ACCELERATORS)
    divisors = [d for d in range(1, run.batch_size + 1) if run.batch_size % d == 0]
    return max(
        d
        for d in divisors
        if d == 1
        or (
            d * config.data.max_seq_length <= most
            and estimate_bytes(
                config, num_parameters, d, device_type, precision, runs_flash_attention
            )
            <= fits
        )
    )


def fit_micro_batch(
    config: PretrainConfig, num_parameters: int, device: torch.device, precision: Precision
) -> PretrainConfig:
    """Choose run.micro_batch_size where it is null. Raises RunError if not even one window fits."""
    run = config.run
    available = memory_bytes(device)
    # A checkpoint begins with a copy of weights and moments on the host.
    copied = num_parameters * 12 if device.type == "cpu" else 0
    fits = int(available * USABLE_MEMORY_FRACTION) - copied
    has_flash = runs_flash_attention(config, device, precision)
    if run.micro_batch_size is None:
        chosen = largest_micro_batch(
            config, num_parameters, device.type, fits, precision, has_flash
        )
        config = config.model_copy(
            update={"run": run.model_copy(update={"micro_batch_size": chosen})}
        )
    micro_batch_size = config.run.windows_per_pass
    needed = estimate_bytes(
        config, num_parameters, micro_batch_size, device.type, precision, has_flash
    )
    if needed > fits:
        raise RunError(
            f"a step needs about {needed / 2**30:.1f} GB of memory with {micro_batch_size} windows "
            f"a forward pass; {device} has {available / 2**30:.1f} GB",
            hint="--set run.gradient_checkpointing=true, a shorter --max-seq-length, "
            "a smaller run.micro_batch_size or a smaller --preset",
        )
    return config
