"""Every fault of a run in several processes, a few times each: python tests/process_faults.py.

Prints a table in Markdown: what was done, seconds until all processes were gone (for data that is
missing: since the start), exit codes, what was said, and how far the weights of a resume in one
process are from those of the uninterrupted run in two (the largest weight is about 1). Needs the
right to mount a tmpfs, for the disk that is full; not under nohup, which ignores SIGHUP.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from command_line import TINY, run_electra, write_corpus
from launched import NO_DATA, SLOW_STEPS, Ended, Launched
from run_checks import final_weights, wait_for_rows, wait_until

OPTIONS = [*TINY, "--set=run.num_steps=40", "--set=run.micro_batch_size=1", "--set=run.log_every=1"]
SLOWLY = SLOW_STEPS.format(seconds=0.4)
# A call takes longer, and while it does there is a file that says so.
SLOW_CALL = """
import time
import {module} as module
def slowly(owner=module, rank=os.environ["RANK"]):
    *outer, name = "{name}".split(".")
    for each in outer:
        owner = getattr(owner, each)
    do, mark = getattr(owner, name), "{mark}" + rank
    def slow(*arguments, **named):
        open(mark, "w").close()
        time.sleep({seconds})
        try:
            return do(*arguments, **named)
        finally:
            os.remove(mark)
    setattr(owner, name, slow)
slowly()
"""
AT_STEP_8 = """
from electra_cli.training.trainer import Trainer
step = Trainer.train_step
def broken(self, batches):
    if self.step == 8 and os.environ["RANK"] == "1":
        {what}
    step(self, batches)
Trainer.train_step = broken
"""


def slow_call(mark: str, seconds: object = 1) -> str:
    """Code that makes a part of a run slow; the file is `mark` and the rank."""
    module, name = {
        "starting": ("electra_cli.commands.train", "select_compute"),
        "evaluating": ("electra_cli.training.trainer", "Trainer.evaluate"),
        "saving": ("electra_cli.training.checkpoint", "_write_files"),
        "exporting": ("electra_cli.runs.loop", "export_models"),
    }[mark]
    return SLOW_CALL.format(module=module, name=name, mark=mark, seconds=seconds)


Act = Callable[[Launched, dict[int, int]], object]


@dataclass(frozen=True)
class Fault:
    name: str
    do: Act
    code: int  # expected
    planted: str = SLOWLY
    when: str = ""  # the file that appears in time; else a row of the log
    count: int = 2


def send(number: signal.Signals, *ranks: int) -> Act:
    """Send a signal to the launcher (-1) or to processes by rank."""

    def do(launched: Launched, workers: dict[int, int]) -> None:
        for rank in ranks:
            os.kill(launched.process.pid if rank < 0 else workers[rank], number)

    return do


def one_after_the_other(*acts: Act) -> Act:
    def do(launched: Launched, workers: dict[int, int]) -> None:
        for number, act in enumerate(acts):
            time.sleep(0.5 if number else 0)
            act(launched, workers)

    return do


def fill_disk(launched: Launched, workers: dict[int, int]) -> None:
    with (launched.folder / "runs" / "full").open("ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


def nothing(launched: Launched, workers: dict[int, int]) -> None:
    """The fault is planted."""


def faults() -> Iterator[Fault]:
    kill, stop, halt = signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP
    for rank, name in ((-1, "the launcher"), (0, "process 0"), (1, "process 1")):
        yield Fault(f"SIGKILL of {name}", send(kill, rank), 1 if rank >= 0 else -9)
        for mark in ("starting", "evaluating", "saving", "exporting"):
            planted = slow_call(mark) + SLOWLY
            code = -9 if rank < 0 else 1
            yield Fault(f"SIGKILL of {name}, {mark}", send(kill, rank), code, planted, f"{mark}0")
    for rank in (0, 1):
        act = one_after_the_other(send(halt, rank), send(stop, -1))
        yield Fault(f"SIGSTOP of process {rank}, then SIGTERM to the launcher", act, 1)
    hang = AT_STEP_8.format(what="open('hanging', 'w').close(); import time; time.sleep(900)")
    yield Fault("process 1 hangs, SIGTERM to the launcher", send(stop, -1), 1, hang, "hanging")
    for name, what in (
        ("out of memory in process 1", "raise MemoryError('no room')"),
        ("a bug in process 1", "raise ValueError('a bug')"),
    ):
        yield Fault(name, nothing, 1, AT_STEP_8.format(what=what))
    yield Fault("process 1 has no data", nothing, 1, NO_DATA, "stderr.txt")
    yield Fault("a disk that is full", fill_disk, 1)
    for mark in ("starting", "evaluating", "exporting"):
        for rank, name in ((-1, "the launcher"), (1, "process 1")):
            planted = slow_call(mark) + SLOWLY
            act = send(stop, rank)
            # Process 0 exports alone, and all is done when it has.
            code = 0 if rank == 1 and mark == "exporting" else 130
            yield Fault(f"SIGTERM to {name}, {mark}", act, code, planted, f"{mark}0")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
        for ranks, name in (
            ([-1], "the launcher"),
            ([0], "process 0"),
            ([1], "process 1"),
            ([-1, 0, 1], "the launcher and both processes"),
        ):
            yield Fault(f"{number.name} to {name}", send(number, *ranks), 130)
    twice = one_after_the_other(send(signal.SIGINT, -1), send(signal.SIGINT, -1))
    yield Fault("SIGINT to the launcher, twice", twice, 130)
    slow = slow_call("saving", "60 if os.path.exists('slow') else 0")
    yield Fault("SIGTERM to process 1, the save takes 60 s", send(stop, 1), 130, SLOWLY + slow)


@contextmanager
def run_folder(prepared: Path) -> Iterator[Path]:
    """An empty folder to run commands in, whose runs are on a disk of their own."""
    folder = Path(tempfile.mkdtemp(prefix="electra-fault-"))
    (folder / "words").symlink_to(prepared)
    runs = folder / "runs"
    runs.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", runs], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", runs], check=True)
        shutil.rmtree(folder)


def begin(folder: Path, count: int, planted: str) -> Launched:
    arguments = ["train", "--data=words", "--run-name=run", f"--processes={count}", *OPTIONS]
    return Launched(folder, *arguments, planted=planted)


def resume(folder: Path, wanted: dict[str, torch.Tensor]) -> float | None:
    """How far the weights of a resume in one process are from `wanted`; None: there is no run."""
    if not (folder / "runs" / "run").exists():
        return None
    (folder / "runs" / "full").unlink(missing_ok=True)
    done = run_electra(folder, "resume", "runs/run")
    assert done.returncode == 0, done.stderr
    found = final_weights(folder / "runs" / "run")
    return max(float((found[name] - wanted[name]).abs().max()) for name in wanted)


def try_fault(fault: Fault, prepared: Path, wanted: dict[str, torch.Tensor]) -> str:
    with run_folder(prepared) as folder:
        launched = begin(folder, fault.count, fault.planted)
        try:
            workers = launched.wait_for_workers(fault.count)
            if fault.when:
                wait_until((folder / fault.when).exists, fault.when)
            else:
                wait_for_rows(folder / "runs" / "run" / "training_log.csv", 7)
            (folder / "slow").touch()
            fault.do(launched, workers)
            ended = launched.end(*workers.values())
        finally:
            launched.process.kill()
        distance = resume(folder, wanted)
    resumed = "nothing begun" if distance is None else f"{distance:.1e}"
    wrong = "" if ended.code == fault.code else f" (WRONG, not {fault.code})"
    said = len(ended.errors), last_line(ended)
    return f"{ended.seconds:.1f} s | {ended.code}{wrong} | {said[0]} | {said[1]} | {resumed}"


def last_line(ended: Ended) -> str:
    lines = ended.errors or [line for line in ended.stderr.splitlines() if line.strip()]
    return (lines or ["nothing"])[-1][:110]


@contextmanager
def uninterrupted(planted: str) -> Iterator[tuple[Path, dict[str, torch.Tensor], float]]:
    """Prepared data, final weights of two processes, and how long they train."""
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        corpus = write_corpus(base / "corpus.txt", 300)
        sizes = ["--out=words", "--vocab-size=150", "--validation-fraction=0.1"]
        assert run_electra(base, "prepare", corpus, *sizes).returncode == 0
        with run_folder(base / "words") as folder:
            launched = begin(folder, 2, planted)
            wait_until((folder / "runs" / "run").exists, "the run's folder")
            started = time.monotonic()
            ended = launched.end()
            assert ended.code == 0, ended.stderr
            seconds = time.monotonic() - started
            wanted = final_weights(folder / "runs" / "run")
        yield base / "words", wanted, seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=2)
    parser.add_argument("--only", default="", help="faults with these words in their name")
    options = parser.parse_args()
    with uninterrupted(SLOWLY) as (prepared, wanted, _):
        print("| fault | all gone after | exit | errors | last said | resumed |")
        print("|---|---:|---:|---:|---|---|")
        for fault in faults():
            if options.only in fault.name:
                for _ in range(options.times):
                    row = try_fault(fault, prepared, wanted)
                    print(f"| {fault.name} | {row} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
