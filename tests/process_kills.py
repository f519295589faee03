"""A signal at random moments of runs in two and three processes: python tests/process_kills.py.

Each run gets one, at a random process or at the launcher, once its folder is there; the moments are
spread over training, evaluation, saving and the export. Prints a table in Markdown, and ends with
exit code 1 if a run was lost: if a resume in one process does not come to the weights of the
uninterrupted run, but for rounding.
"""

import argparse
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import torch
from launched import SLOW_STEPS
from process_faults import begin, resume, run_folder, slow_call, uninterrupted
from run_checks import wait_until

MARKS = ("evaluating", "saving", "exporting")
SLOWLY = SLOW_STEPS.format(seconds=0.15) + "".join(
    slow_call(mark, 2 if mark == "exporting" else 0.5) for mark in MARKS
)
ROUNDING = 1e-5  # of weights up to about 1


def signal_at(
    delay: float, number: signal.Signals, draw: random.Random, data: Path,
    wanted: dict[str, torch.Tensor],
) -> tuple[str, str] | None:  # fmt: skip
    """What the run was doing, and the row of the table; None where it had ended already."""
    count = draw.choice([2, 3])
    victim = draw.choice([-1, *range(count)])
    with run_folder(data) as folder:
        launched = begin(folder, count, SLOWLY)
        workers = launched.wait_for_workers(count)
        wait_until((folder / "runs" / "run").exists, "the run's folder")
        time.sleep(delay)
        doing = next((m for m in reversed(MARKS) if any(folder.glob(f"{m}*"))), "training")
        try:
            os.kill(launched.process.pid if victim < 0 else workers[victim], number)
            is_early = launched.process.poll() is None
        except ProcessLookupError:
            is_early = False
        ended = launched.end(*workers.values())
        distance = resume(folder, wanted)
    if not is_early:
        return None
    assert distance is not None
    is_lost = distance > ROUNDING
    name = "launcher" if victim < 0 else f"process {victim}"
    return doing, (
        f"| {count} | {delay:.1f} s | {doing} | {name} | {ended.seconds:.1f} s | {ended.code} | "
        f"{len(ended.errors)} | {distance:.1e}{' LOST' if is_lost else ''} |"
    )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=36)
    parser.add_argument("--signal", type=signal.Signals.__getitem__, default=signal.SIGKILL)
    parser.add_argument("--seed", type=int, default=0, help="of the moments and victims")
    options = parser.parse_args()
    draw, found = random.Random(options.seed), Counter[str]()
    is_lost = False
    with uninterrupted(SLOWLY) as (data, wanted, seconds):
        print(f"| processes | after | during | {options.signal.name} to | all gone after | exit |"
              " errors | resumed |")  # fmt: skip
        print("|---:|---:|---|---|---:|---:|---:|---|")
        while found.total() < options.times:
            delay = seconds * (found.total() + draw.random()) / options.times
            outcome = signal_at(delay, options.signal, draw, data, wanted)
            if outcome is not None:
                found[outcome[0]] += 1
                is_lost |= "LOST" in outcome[1]
                print(outcome[1], flush=True)
    print(", ".join(f"{count} times {doing}" for doing, count in found.items()))
    return int(is_lost)


if __name__ == "__main__":
    sys.exit(main())
