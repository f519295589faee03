"""What several processes cost: a step of `small` with the reduction and without, in turns.

    python -m benchmarks.reduction [--processes 2] [--windows 16] [--repetitions 5]

All processes are on this machine and add up through gloo, as `electra train --processes N` does on
CPUs, with its share of the cores each. Both steps have the same windows.
"""

import argparse
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import torch

from benchmarks.batches import VOCAB_SIZE, Shape, make_batch, make_trainer
from benchmarks.processes import Contestants, in_process
from benchmarks.turns import report, take_turns
from electra_cli.machine import usable_cores
from electra_cli.runs.session import count_model_parameters
from electra_cli.training.place import Place
from electra_cli.training.processes import ALONE, Processes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--windows", type=int, default=16, help="per process, of 128 tokens")
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    count, shape = options.processes, Shape("small", options.windows, 128)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1])}
    os.environ["OMP_NUM_THREADS"] = str(max(1, usable_cores() // count))
    with ExitStack() as stack, ThreadPoolExecutor(count) as threads:
        runs = [stack.enter_context(in_process(build, r, count, shape)) for r in range(count)]

        def everywhere(name: str) -> list[object]:
            return list(threads.map(lambda run: run(name), runs))

        contestants = {name: partial(everywhere, name) for name in ("alone", "together", "reduce")}
        turns = take_turns(contestants, options.repetitions)
        everywhere("leave")
    case = f"small, {count} processes of {options.windows} x 128"
    report(f"{case}: tokens/s", f"{turns.rate('together', count * options.windows * 128):,.0f}")
    report("  a step with the reduction / without", turns.ratio("together", "alone"), "bar: 1.05")
    report("  the reduction / a step without", turns.ratio("reduce", "alone"), "bar: 0.05")


def build(rank: int, count: int, shape: Shape) -> Contestants:
    """In one of the processes: a step of its own, its part of a shared one, the reduction alone."""
    stack = ExitStack()
    processes = stack.enter_context(Processes(Place(rank, count, rank, count)))
    config = shape.config(dropout=0.1)
    batch = make_batch(config, shape.lengths(mixed=False))
    _, num_parameters = count_model_parameters(config, VOCAB_SIZE)
    flat = torch.zeros(num_parameters)

    def stepping(others: Processes) -> Callable[[], None]:
        trainer = make_trainer(config, others)
        return lambda: trainer.train_step(iter([batch]))

    return {
        "alone": stepping(ALONE),
        "together": stepping(processes),
        "reduce": lambda: processes.add_up(flat),
        "leave": stack.close,
    }


if __name__ == "__main__":
    main()
