"""What checkpoints cost: the training loop with a checkpoint every 30 s and without, in turns.

    python -m benchmarks.checkpointing [--preset small] [--seconds 30] [--pairs 4]

The loop is `electra train`'s own. Each second save is left out, so that intervals with and without
one take turns on the same machine; all intervals have the same number of steps. On a quiet machine
the ratio of their durations is the loss of time. On a busy machine that ratio is mostly noise. The
time for which a checkpoint stops training, and the CPU time of writing it, vary less.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from electra_cli.data.prepared import open_data
from electra_cli.presets import load_preset
from electra_cli.run_directory import RunDirectory
from electra_cli.runs.loop import train
from electra_cli.runs.session import open_checkpoints, open_session
from electra_cli.stopping import stop_request
from electra_cli.training.checkpoint import CheckpointManager
from electra_cli.training.device import select_compute


class TakingTurns(CheckpointManager):
    """Leaves out every second save, and records when each was requested and how long it took."""

    def __init__(self, directory: Path, keep: int) -> None:
        super().__init__(directory, keep)
        self.asked: list[tuple[float, float]] = []  # wall, CPU of the process
        self.held: list[float] = []
        self.written: list[tuple[float, float]] = []  # wall, CPU of the thread

    def save(self, step, state, after=()) -> None:
        started = time.perf_counter()
        self.asked.append((started, time.process_time()))
        if len(self.asked) % 2:
            super().save(step, state, after)
            self.held.append(time.perf_counter() - started)

    def _write(self, *arguments) -> None:
        wall, cpu = time.perf_counter(), time.thread_time()
        super()._write(*arguments)
        self.written.append((time.perf_counter() - wall, time.thread_time() - cpu))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--data", type=Path, help="default: 2 MB of the built-in corpus")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, stop_request():
        data = arguments.data or prepare(Path(folder))
        measure(arguments, data, RunDirectory(Path(folder) / "run"))


def prepare(folder: Path) -> Path:
    electra = Path(sys.executable).with_name("electra")
    options = ["--max-bytes", "2000000", "--vocab-size", "8192", "--out", "data"]
    subprocess.run([electra, "prepare", *options], cwd=folder, check=True, capture_output=True)
    return folder / "data"


def measure(arguments: argparse.Namespace, data_folder: Path, run: RunDirectory) -> None:
    run.root.mkdir()
    options = {"run.batch_size": arguments.batch_size, "data.max_seq_length": 128}
    every_step = {"run.log_every": 1, "run.eval_every": 1_000_000, "run.num_eval_windows": 8}
    config = load_preset(arguments.preset, options | every_step)
    compute = select_compute(config)
    data = open_data(data_folder)
    session = open_session(run, config, data, compute, open_checkpoints(run, config))
    while session.trainer.step < 6:
        session.trainer.train_step(session.batches)
        if session.trainer.step == 2:  # after the first, which warm up
            started = time.perf_counter()
    seconds = (time.perf_counter() - started) / 4
    session.close()

    every = max(1, round(arguments.seconds / seconds))
    steps = {"run.save_every": every, "run.num_steps": every * (2 * arguments.pairs + 1) + 1}
    config = load_preset(arguments.preset, options | every_step | steps)
    turns = TakingTurns(run.checkpoints, keep=3)
    session = open_session(run, config, data, compute, turns)
    train(session)
    session.close()

    intervals = [
        (later[0] - earlier[0], later[1] - earlier[1]) for earlier, later in pairwise(turns.asked)
    ]
    intervals = intervals[: 2 * arguments.pairs]  # the run's last step is one of its own
    saving, plain = intervals[0::2], intervals[1::2]
    size = sum(f.stat().st_size for f in run.checkpoints.glob("*/*")) / len(turns.steps())
    print(
        f"{arguments.preset}, batch {arguments.batch_size}: {every} steps per interval, "
        f"{size / 1e6:.0f} MB per checkpoint, {compute.device}"
    )
    for name, kind in (("wall", 0), ("CPU", 1)):
        with_saves = statistics.fmean(each[kind] for each in saving)
        without = statistics.fmean(each[kind] for each in plain)
        print(
            f"{name}: {with_saves:.2f} s per interval with a checkpoint, {without:.2f} s without: "
            f"{with_saves / without - 1:+.2%}"
        )
        print(
            f"  with: {', '.join(f'{each[kind]:.2f}' for each in saving)}"
            f"  without: {', '.join(f'{each[kind]:.2f}' for each in plain)}"
        )
    held = statistics.fmean(turns.held)
    wall = statistics.fmean(each[0] for each in turns.written)
    cpu = statistics.fmean(each[1] for each in turns.written)
    print(
        f"a checkpoint stops training for {held:.3f} s and is written in {wall:.2f} s in the "
        f"background ({cpu:.2f} s of CPU)"
    )
    print(
        f"that is {held / arguments.seconds:.2%} of {arguments.seconds:g} s where a core is free, "
        f"and {(held + cpu) / arguments.seconds:.2%} where none is"
    )


if __name__ == "__main__":
    main()
