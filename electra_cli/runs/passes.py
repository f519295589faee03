"""How a model runs its passes: layers computed again, compiled, or recorded as CUDA graphs."""

from electra_cli import console
from electra_cli.config import PretrainConfig
from electra_cli.model.objectives.objective import Objective
from electra_cli.model.objectives.registry import training_flops
from electra_cli.training.device import Compute
from electra_cli.training.processes import ALONE, Processes

# Below this a GPU waits for the host, which launches kernel by kernel: a pass of `small` (1.2e12)
# was 7 times as fast recorded on an H200, one of `base` (44e12) left 13 of 356 ms idle.
_FEW_FLOPS = 20e12


def choose_passes(
    model: Objective, config: PretrainConfig, compute: Compute, processes: Processes
) -> None:
    """How the model computes what it computes; warns of a setting that changes nothing here."""
    if config.run.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    if config.run.compile:
        model.compile_encoders()
        if compute.is_on_cpu:
            console.warn("run.compile changes nothing on a CPU", "nothing to do: it is for GPUs")
    if config.run.deterministic and compute.device.type != "cuda":
        console.warn(
            f"run.deterministic changes nothing on {compute.device.type}",
            "nothing to do: it is for CUDA GPUs",
        )
    if can_record(config, compute, processes):
        model.record_encoders(config.run.windows_per_pass, config.data.max_seq_length)
    elif config.run.cuda_graphs:
        console.warn(
            "run.cuda_graphs changes nothing here",
            "nothing to do: it is for one GPU in bf16 or fp16, without run.gradient_checkpointing",
        )


def can_record(config: PretrainConfig, compute: Compute, processes: Processes = ALONE) -> bool:
    """Whether the encoders run as CUDA graphs."""
    return config.run.cuda_graphs and _could_record(config, compute, processes)


def _could_record(config: PretrainConfig, compute: Compute, processes: Processes) -> bool:
    """Whether they would, if asked to.

    Not where layers are computed again, whose random state no graph can set back, where processes
    replace gradients by sums, nor where a step leaves some without any.
    """
    return (
        compute.has_flash
        and processes.is_alone
        and not config.run.gradient_checkpointing
        and not config.objective.steps_alone
    )


def hint_at_graphs(
    config: PretrainConfig, vocab_size: int, compute: Compute, processes: Processes
) -> None:
    """Say that CUDA graphs would make this run faster, if they would and are off."""
    if config.run.cuda_graphs or not _could_record(config, compute, processes):
        return
    length = config.data.max_seq_length
    tokens = config.run.windows_per_pass * length
    if training_flops(config, vocab_size).count(tokens, 0, tokens * length) < _FEW_FLOPS:
        console.hint(
            "so small a model makes a GPU wait for its host; --set run.cuda_graphs=true trained "
            "the preset small 7 times as fast"
        )
