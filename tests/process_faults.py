"""Every fault of a run in several processes, a few times each: python tests/process_faults.py.

Prints a table in Markdown: what was done, seconds until all processes were gone, exit codes, what
was said, and how far the weights of a resume in one process are from those of the uninterrupted run
in two (the largest weight is about 1). `--kills N` sends SIGKILL at N random moments instead, to a
random process or the launcher.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from command_line import TINY, run_electra, write_corpus
from launched import SLOW_SAVE, SLOW_STEPS, Launched
from run_checks import final_weights, wait_for_rows, wait_until

STEPS = 40
OPTIONS = [*TINY, f"--steps={STEPS}", "--set=run.micro_batch_size=1", "--set=run.log_every=1"]
SLOWLY = SLOW_STEPS.format(seconds=0.4)


@dataclass(frozen=True)
class Fault:
    name: str
    do: Callable[[Launched, dict[int, int]], object]
    code: int  # expected
    planted: str = SLOWLY
    when: Callable[[Path], object] = lambda folder: wait_for_rows(
        folder / "runs" / "run" / "training_log.csv", 7
    )


def send(number: signal.Signals, *ranks: int) -> Callable[[Launched, dict[int, int]], None]:
    """Send a signal to the launcher (-1) or to processes by rank."""

    def do(launched: Launched, workers: dict[int, int]) -> None:
        for rank in ranks:
            if rank < 0:
                launched.process.send_signal(number)
            else:
                signal_process(workers[rank], number)

    return do


def signal_process(pid: int, number: int) -> None:
    os.kill(pid, number)


def hang_and_stop(launched: Launched, workers: dict[int, int]) -> None:
    send(signal.SIGSTOP, 1)(launched, workers)
    time.sleep(0.5)
    send(signal.SIGTERM, -1)(launched, workers)


def exists(name: str) -> Callable[[Path], None]:
    return lambda folder: wait_until((folder / name).exists, name)


RAISE = """
from electra_cli.training.trainer import Trainer
step = Trainer.train_step
def broken(self, batches):
    if self.step == 8 and os.environ["RANK"] == "{rank}":
        {what}
    step(self, batches)
Trainer.train_step = broken
"""
MARK = """
import {module} as module
do = module.{name}
def marked(*arguments, **named):
    open("{mark}", "w").close()
    import time; time.sleep(1)
    return do(*arguments, **named)
module.{name} = marked
"""


def faults() -> list[Fault]:
    kill, stop = signal.SIGKILL, signal.SIGTERM
    evaluate = MARK.format(
        module="electra_cli.training.trainer", name="Trainer.evaluate", mark="evaluating"
    ).replace("do = module.Trainer.evaluate", "do = module.Trainer.evaluate")
    export = MARK.format(module="electra_cli.runs.loop", name="export_models", mark="exporting")
    start = MARK.format(module="electra_cli.commands.train", name="select_compute", mark="starting")
    oom = RAISE.format(rank=1, what="raise MemoryError('no room')")
    bug = RAISE.format(rank=1, what="raise ValueError('a bug')")
    hang = RAISE.format(rank=1, what="open('hanging', 'w').close(); import time; time.sleep(900)")
    found = [
        Fault("SIGKILL of process 0", send(kill, 0), 1),
        Fault("SIGKILL of process 1", send(kill, 1), 1),
        Fault("SIGKILL of the launcher", send(kill, -1), -9),
        Fault("SIGSTOP of process 1, then SIGTERM to the launcher", hang_and_stop, 1),
        Fault(
            "process 1 hangs, SIGTERM to the launcher", send(stop, -1), 1, hang, exists("hanging")
        ),
        Fault("out of memory in process 1", send(signal.SIGCONT), 1, oom),
        Fault("a bug in process 1", send(signal.SIGCONT), 1, bug),
        Fault("SIGTERM during the start", send(stop, -1), 130, start, exists("starting")),
        Fault("SIGTERM during evaluation", send(stop, -1), 130, evaluate, exists("evaluating")),
        Fault("SIGTERM during the export", send(stop, -1), 130, export, exists("exporting")),
        Fault(
            "SIGTERM to process 1, the save takes 60 s",
            send(stop, 1),
            130,
            SLOWLY + SLOW_SAVE.format(seconds="60 if os.path.exists('slow') else 0"),
        ),
    ]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
        found += [
            Fault(f"{number.name} to the launcher", send(number, -1), 130),
            Fault(f"{number.name} to process 0", send(number, 0), 130),
            Fault(f"{number.name} to process 1", send(number, 1), 130),
        ]
    return found


def make_folder(prepared: Path) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="electra-fault-"))
    (folder / "words").symlink_to(prepared)
    return folder


def begin(folder: Path, count: int, planted: str) -> Launched:
    arguments = ["train", "--data=words", "--run-name=run", f"--processes={count}", *OPTIONS]
    return Launched(folder, *arguments, planted=planted)


def resume(folder: Path, wanted: dict[str, torch.Tensor]) -> str:
    """What a resume in one process comes to, against the weights of an uninterrupted run."""
    if not (folder / "runs" / "run").exists():
        return "nothing begun"
    done = run_electra(folder, "resume", "runs/run")
    assert done.returncode == 0, done.stderr
    found = final_weights(folder / "runs" / "run")
    return f"{max(float((found[n] - wanted[n]).abs().max()) for n in wanted):.1e}"


def try_fault(fault: Fault, prepared: Path, count: int, wanted: dict[str, torch.Tensor]) -> str:
    folder = make_folder(prepared)
    launched = begin(folder, count, fault.planted)
    try:
        workers = launched.wait_for_workers(count)
        fault.when(folder)
        (folder / "slow").touch()
        fault.do(launched, workers)
        ended = launched.end(*workers.values())
        outcome = resume(folder, wanted)
    finally:
        launched.process.kill()
    shutil.rmtree(folder)
    last = (ended.errors or ended.stderr.splitlines() or ["nothing"])[-1][:90]
    is_wrong = " (WRONG)" if ended.code != fault.code else ""
    return (
        f"{ended.seconds:.1f} s | {ended.code}{is_wrong} | {len(ended.errors)} | {last} | {outcome}"
    )


def kill_at_random(
    draw: random.Random, prepared: Path, wanted: dict[str, torch.Tensor], whole_seconds: float
) -> str:
    count = draw.choice([2, 3])
    folder = make_folder(prepared)
    launched = begin(folder, count, SLOWLY)
    delay, victim = draw.uniform(0, 1.1 * whole_seconds), draw.choice([-1, *range(count)])
    seen: set[int] = set()
    started = time.monotonic()
    while time.monotonic() - started < delay and launched.process.poll() is None:
        seen |= set(launched.workers().values())
        time.sleep(0.05)
    workers = launched.workers()
    seen |= set(workers.values())
    if launched.process.poll() is not None:
        what = "after its end"
    elif victim < 0 or victim not in workers:
        what = "launcher"
        launched.process.kill()
    else:
        what = f"process {victim}"
        signal_process(workers[victim], signal.SIGKILL)
    ended = launched.end(*seen)
    outcome = resume(folder, wanted)
    shutil.rmtree(folder)
    return (
        f"| {count} | {delay:.1f} s | {what} | {ended.seconds:.1f} s | {ended.code} | "
        f"{len(ended.errors)} | {outcome} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=2)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0, help="of the moments and victims")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        corpus = write_corpus(base / "corpus.txt", 300)
        sizes = ["--out=words", "--vocab-size=150", "--validation-fraction=0.1"]
        assert run_electra(base, "prepare", corpus, *sizes).returncode == 0
        whole = make_folder(base / "words")
        started = time.monotonic()
        ended = begin(whole, 2, SLOWLY).end()
        took = time.monotonic() - started
        assert ended.code == 0, ended.stderr
        wanted = final_weights(whole / "runs" / "run")
        if options.kills:
            print("| processes | after | SIGKILL of | all gone | exit | errors | resumed |")
            print("|---|---|---|---:|---:|---:|---|")
            draw = random.Random(options.seed)
            for _ in range(options.kills):
                print(kill_at_random(draw, base / "words", wanted, took), flush=True)
            return
        print("| fault | all gone after | exit | errors | last said | resumed |")
        print("|---|---:|---:|---:|---|---|")
        for fault in faults():
            if options.only not in fault.name:
                continue
            for _ in range(options.times):
                row = try_fault(fault, base / "words", 2, wanted)
                print(f"| {fault.name} | {row} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
