"""A group of one process: what adding up over NCCL changes and costs, on a machine with one GPU."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from benchmarks.gpu.machine import Figures, Machine
from electra_cli.batch import Batch
from electra_cli.model.objectives.objective import Objective
from electra_cli.stopping import StopRequest
from electra_cli.training.processes import ALONE, Processes
from electra_cli.training.trainer import Trainer

_STEPS = 6


class GroupOfOne(Processes):
    """A process that adds up as one of several does, though it is the only one."""

    is_alone = False
    wants_stop = False

    def __init__(self) -> None:
        super().__init__()
        self.watch._stop = StopRequest()  # nobody asks: there is no other process to watch

    def add_up(self, flat: Tensor) -> None:
        """By NCCL on a GPU, which lets the host go on; the sum of one is the same."""
        dist.all_reduce(flat)


@contextmanager
def _group(machine: Machine) -> Iterator[GroupOfOne]:
    backend = "nccl" if machine.device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield GroupOfOne()
    finally:
        dist.destroy_process_group()


def same_steps(
    machine: Machine, trainer: Callable[[Processes], Trainer[Objective]], batch: Batch
) -> Figures:
    """Weights after some steps, bit for bit those of a process alone; milliseconds per step."""
    weights, seconds = [], []
    with _group(machine) as group:
        for processes in (ALONE, group):
            each = trainer(processes)
            for _ in range(_STEPS):
                each.train_step(iter([batch]))
            each.flush(0.0)
            weights.append(torch.cat([p.detach().flatten() for p in each.model.parameters()]))
            machine.synchronize()
            started = time.perf_counter()
            for _ in range(_STEPS):
                each.train_step(iter([batch]))
            machine.synchronize()
            seconds.append((time.perf_counter() - started) / _STEPS)
    assert torch.equal(*weights), "a group of one process computes other weights"
    return {
        "weights": "bit for bit",
        "ms per step, alone": 1e3 * seconds[0],
        "ms per step, in a group": 1e3 * seconds[1],
        "backend": "nccl" if machine.device.type == "cuda" else "gloo",
    }
