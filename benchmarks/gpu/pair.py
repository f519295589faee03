"""Two processes on one device: they train the run of one, stop together, and end together.

They add up over gloo, which takes tensors of a GPU too: NCCL refuses two processes on one GPU
(NVIDIA/nccl issue 418), and so does `electra train`.
"""

import hashlib
import os
import signal
import socket
import time
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection

import torch

from benchmarks.gpu.machine import Figures, Machine
from benchmarks.gpu.steps import make_recipe, make_trainer, weights_of
from electra_cli.batch import Batch
from electra_cli.config import PretrainConfig
from electra_cli.model.objectives.objective import Objective
from electra_cli.stopping import StopRequest, stop_request
from electra_cli.training.device import Precision
from electra_cli.training.place import Place
from electra_cli.training.processes import ALONE, Processes
from electra_cli.training.trainer import Trainer

_STEPS = 4
_MOST_SECONDS = 5.0  # until a process is gone, once the other one was killed
# Absolute for weights up to about 1; of losses relative. A number of bf16 is off by up to 2e-3:
# products of other sizes add in another order, and losses were off by 1.8e-3 on an H200.
_WEIGHTS = 1e-5
_LOSSES = {"fp32": 1e-3, "bf16": 4e-3}
_CUT: dict[str, object] = {"run.micro_batch_size": 2}


def two_processes(machine: Machine) -> Figures:
    """What two processes found; then one of them is killed, and the other one leaves."""
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
    spawned = get_context("spawn")
    here, there = spawned.Pipe(duplex=False)
    first, second = (
        spawned.Process(target=_work, args=(machine, rank, port, pipe), daemon=True)
        for rank, pipe in enumerate((there, None))
    )
    first.start()
    second.start()
    there.close()
    figures: Figures | BaseException = here.recv()
    if isinstance(figures, BaseException):
        raise figures
    second.join()
    started = time.monotonic()
    first.join()
    seconds = time.monotonic() - started
    codes = (first.exitcode, second.exitcode)
    assert codes == (1, -signal.SIGKILL), f"exit codes {codes}"
    assert seconds <= _MOST_SECONDS, f"the other one was there for {seconds:.1f} s"
    return {**figures, "s until one is gone after the other": seconds}


def _work(machine: Machine, rank: int, port: int, pipe: Connection | None) -> None:
    """One of the two; the first one tells what was found."""
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    try:
        with machine.branches(), stop_request() as stop, Processes(Place(rank, 2, rank, 2)) as pair:
            figures = _find(machine, pair, stop)
            if pipe is not None:
                pipe.send(figures)
            else:
                os.kill(os.getpid(), signal.SIGKILL)
            pair.meet()  # where it learns that the other one is gone
    except BaseException as error:
        if pipe is not None:
            pipe.send(error)
        raise


def _find(machine: Machine, pair: Processes, stop: StopRequest) -> Figures:
    figures: dict[str, float | str] = {}
    figures["fp32"] = _same_run(machine, pair, "fp32", {})
    figures["fp32, dropout"] = _same_run(machine, pair, "fp32", {}, dropout=0.1)
    figures["bf16, dropout"] = _same_run(machine, pair, "bf16", {}, dropout=0.1)
    if not machine.is_tiny:
        figures["bf16, compiled"] = _same_run(machine, pair, "bf16", {"run.compile": True})
    figures["2, then 1 process"] = _go_on_alone(machine, pair)
    figures["fp16, an overflow in one"] = _skip_together(machine, pair)
    figures["SIGTERM to one, steps made"] = _stop_together(machine, pair, stop)
    figures |= _time_steps(machine, pair)
    return figures


def _same_run(
    machine: Machine,
    pair: Processes,
    precision: Precision,
    options: dict[str, object],
    dropout: float = 0.0,
) -> float:
    """How far weights (fp32) or losses of two processes are from those of one."""
    config, batch = make_recipe(machine, {**_CUT, **options}, dropout)
    alone = make_trainer(machine, config, precision)
    shared = make_trainer(machine, config, precision, pair)
    expected, losses = (
        _train(each, config, batch, processes, _STEPS)
        for each, processes in ((alone, ALONE), (shared, pair))
    )
    content = weights_of(shared).cpu().numpy().tobytes()
    sums = pair.exchange(hashlib.sha256(content).hexdigest())
    assert len(set(sums)) == 1, f"{precision}: two processes have different weights"
    error = max(abs(a / b - 1) for a, b in zip(losses, expected, strict=True))
    assert error <= _LOSSES[precision], f"{precision}: losses are off by {error:.1e}"
    if precision == "fp32":
        error = _distance(shared, alone)
        assert error <= _WEIGHTS, f"weights are off by {error:.1e}"
    return error


def _go_on_alone(machine: Machine, pair: Processes) -> float:
    """How far the weights are from those of one process, if it makes the last two steps alone."""
    config, batch = make_recipe(machine, _CUT, dropout=0.1)
    whole, rest = (make_trainer(machine, config, "fp32") for _ in range(2))
    shared = make_trainer(machine, config, "fp32", pair)
    _train(whole, config, batch, ALONE, _STEPS)
    _train(shared, config, batch, pair, _STEPS - 2)
    rest.load(shared.tensors(), shared.state())
    _train(rest, config, batch, ALONE, 2)
    error = _distance(rest, whole)
    assert error <= _WEIGHTS, f"2, then 1 process: weights are off by {error:.1e}"
    return error


def _skip_together(machine: Machine, pair: Processes) -> str:
    """An infinite gradient in one process leaves out the update of both, and halves both scales."""
    config, batch = make_recipe(machine, _CUT)
    trainer = make_trainer(machine, config, "fp16", pair)
    _train(trainer, config, batch, pair, 1)
    scale = 2.0**10  # at which nothing overflows by itself
    trainer._scaler.update(scale)
    before = weights_of(trainer)
    _train(trainer, config, batch, pair, 1)
    after = weights_of(trainer)
    if pair.rank == 1:
        next(trainer.model.parameters()).register_hook(lambda gradient: gradient + float("inf"))
    _train(trainer, config, batch, pair, 1)
    found = (
        not torch.equal(after, before)
        and torch.equal(weights_of(trainer), after)
        and trainer._scaler.get_scale() == scale / 2
    )
    assert pair.exchange(found) == [True, True], "an overflow in one is not one in both"
    return "both skip"


def _stop_together(machine: Machine, pair: Processes, stop: StopRequest) -> int:
    """Steps after which both stop, if one gets a signal in the second."""
    config, batch = make_recipe(machine, _CUT)
    trainer = make_trainer(machine, config, "bf16", pair)
    while not trainer.must_stop(wish=False):
        if pair.rank == 1 and trainer.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        _train(trainer, config, batch, pair, 1)
    steps = pair.exchange(trainer.step)
    stop.reason = None
    assert steps[0] == steps[1] <= 3, f"they stopped after {steps} steps"
    return steps[0]


def _time_steps(machine: Machine, pair: Processes) -> dict[str, float]:
    """Of the first process alone, while the second one waits, and of both."""
    figures = {}
    config, batch = make_recipe(machine, _CUT)
    for name, processes in (("alone", ALONE), ("one of two", pair)):
        if processes is pair or pair.is_first:
            trainer = make_trainer(machine, config, "bf16", processes)
            _train(trainer, config, batch, processes, 2)
            started = time.perf_counter()
            _train(trainer, config, batch, processes, _STEPS)  # waits for the device
            figures[f"ms per step, {name}"] = 1e3 * (time.perf_counter() - started) / _STEPS
        pair.meet()
    return figures


def _train(
    trainer: Trainer[Objective],
    config: PretrainConfig,
    batch: Batch,
    processes: Processes,
    steps: int,
) -> list[float]:
    """The loss of each step on a batch, of which these processes compute every second part."""
    share = batch.share(config.run.windows_per_pass)
    own = replace(share, parts=share.parts[processes.rank :: processes.count])
    losses = []
    for _ in range(steps):
        trainer.train_step(iter([own]))
        losses.append(trainer.flush(0.0).loss)
    return losses


def _distance(found: Trainer[Objective], wanted: Trainer[Objective]) -> float:
    return float((weights_of(found) - weights_of(wanted)).abs().max())
