"""What the processes of a run must have in common, and what the first one reads for all."""

from collections.abc import Callable
from importlib.metadata import version

import torch

import electra_cli
from electra_cli.config import PretrainConfig
from electra_cli.data.prepared import PreparedData
from electra_cli.errors import DataError, RunError
from electra_cli.training.checkpoint import Checkpoint
from electra_cli.training.device import Compute
from electra_cli.training.processes import Processes
from electra_cli.training.run_state import RunState


def read_config(processes: Processes, read: Callable[[], PretrainConfig]) -> PretrainConfig:
    """The first process's settings, in all: other machines need no copy of a preset or a run."""
    if processes.is_alone:
        return read()
    values = processes.from_first(lambda: read().model_dump(mode="json"))
    return PretrainConfig.model_validate(values)


def read_checkpoint(
    processes: Processes, read: Callable[[], tuple[int, Checkpoint | None]]
) -> tuple[int, Checkpoint | None]:
    """The step and the checkpoint that the first process reads, in all."""
    if processes.is_alone:
        return read()
    own: list[tuple[int, Checkpoint | None]] = []

    def values() -> tuple[int, object]:
        own.append(read())
        step, checkpoint = own[0]
        return step, None if checkpoint is None else checkpoint.state.model_dump(mode="json")

    step, state = processes.from_first(values)
    if state is None:
        return step, None
    first = own[0][1] if own else None
    tensors = processes.send({} if first is None else first.tensors)
    return step, Checkpoint(tensors, RunState.model_validate(state))


def refuse_differences(
    processes: Processes, config: PretrainConfig, compute: Compute, data: PreparedData | None
) -> None:
    """Raise the error that says what processes do not have in common, or share and should not."""
    if processes.is_alone:
        return
    if config.run.batch_size < processes.count:
        raise RunError(
            f"{processes.count} processes cannot share {config.run.batch_size} windows per step",
            hint="fewer processes, or a larger run.batch_size",
        )
    versions = {name: version(name) for name in ("torch", "transformers", "numpy")}
    facts = {
        "electra-cli": electra_cli.__version__,
        **versions,
        "precision": compute.precision,
        "kind of device": compute.device.type,
        "content of the data": data.sha256 if data else "",
        "tokenizer": data.manifest.tokenizer_sha256 if data else "",
    }
    of_all = processes.gather(lambda: facts)
    for rank, theirs in enumerate(of_all):
        for name, value in of_all[0].items():
            if theirs[name] != value:
                error = (
                    DataError if data and name in ("content of the data", "tokenizer") else RunError
                )
                raise error(
                    f"{processes.name(rank)} has another {name} than {processes.name(0)}: "
                    f"{theirs[name][:12]}, not {value[:12]}",
                    hint="the same program, data and settings are needed everywhere; --precision "
                    "says which arithmetic to use",
                )
    gpus = processes.gather(lambda: _gpu(compute))
    for rank, gpu in enumerate(gpus):
        if gpu and gpu in gpus[:rank]:
            raise RunError(
                f"{processes.name(rank)} and {processes.name(gpus.index(gpu))} have the same GPU",
                hint="one process per GPU: --processes gpus",
            )


def _gpu(compute: Compute) -> str:
    if compute.device.type != "cuda":
        return ""
    return str(torch.cuda.get_device_properties(compute.device).uuid)
