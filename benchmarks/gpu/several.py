"""What several processes compute, on a machine with one GPU: over NCCL and over gloo."""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import repeat

import torch
import torch.distributed as dist
from torch import Tensor

from benchmarks.gpu.machine import Figures, Machine
from benchmarks.gpu.pair import two_processes
from benchmarks.gpu.steps import host_waits, make_recipe, make_trainer, weights_of
from electra_cli.stopping import StopRequest
from electra_cli.training.device import seed_dropout
from electra_cli.training.processes import ALONE, Processes

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


def group_of_one(machine: Machine) -> Figures:
    """Adding up in a group of one process changes no weight, and no step waits for the device."""
    config, batch = make_recipe(machine, dropout=0.1)
    is_gpu = machine.device.type == "cuda"
    weights, milliseconds, peaks = [], [], []
    with _group(machine) as group:
        for processes in (ALONE, group):
            trainer = make_trainer(machine, config, "bf16", processes)
            if is_gpu:
                gc.collect()  # the trainer before
                torch.cuda.reset_peak_memory_stats()
                peaks.append(-torch.cuda.memory_allocated())
            for _ in range(_STEPS):
                trainer.train_step(iter([batch]))
            trainer.flush(0.0)
            weights.append(weights_of(trainer))
            if is_gpu:
                peaks[-1] += torch.cuda.max_memory_allocated()
            step = partial(trainer.train_step, repeat(batch))
            milliseconds.append(_milliseconds(machine, step))
            pinned = batch.pin_memory() if is_gpu else batch
            with host_waits(machine) as waits:
                trainer.train_step(iter([pinned]))
            assert not waits, f"a step waits for the device: {waits[0]}"
    assert torch.equal(*weights), "a group of one process computes other weights"
    figures: dict[str, float | str] = {
        "weights": "bit for bit",
        "ms per step, alone": milliseconds[0],
        "ms per step, in a group": milliseconds[1],
        "us to seed dropout": 1e3 * _milliseconds(machine, lambda: seed_dropout(machine.device, 1)),
    }
    if is_gpu:
        figures["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))
        figures["bytes more per parameter"] = (peaks[1] - peaks[0]) / len(weights[0])
    return figures


def _milliseconds(machine: Machine, do: Callable[[], None]) -> float:
    machine.synchronize()
    started = time.perf_counter()
    for _ in range(_STEPS):
        do()
    machine.synchronize()
    return 1e3 * (time.perf_counter() - started) / _STEPS


CHECKS: dict[str, Callable[[Machine], Figures]] = {
    "a group of one process": group_of_one,
    "two processes on one device": two_processes,
}
