"""How long a user waits for each command to show something: whole processes, from outside.

    python -m benchmarks.start_up [--text FILE...] [--repetitions 5]

The first turn does not count, so that caches are filled.
"""

import argparse
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.processes import electra, run, train_to_first_step
from benchmarks.turns import Spread, report, take_turns

PREPARED_BYTES = 2_000_000
PLOTTED_STEPS = 60
SMALL_BATCH = 8
BARS = {
    "electra --help": "bar: under 0.3 s",
    "electra plot, one run": "bar: under 1.5 s",
    "electra plot, two runs": "bar: under 1.5 s",
    "electra train, tiny, to its first step": "bar: under 8 s",
    f"electra train, small, batch {SMALL_BATCH}, to its first step": "bar: under 8 s",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, nargs="+", default=[], help="default: the built-in")
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), [path.resolve() for path in arguments.text], arguments.repetitions)


def measure(folder: Path, texts: list[Path], repetitions: int) -> None:
    electra("prepare", *texts, "--max-bytes", PREPARED_BYTES, "--out", "data/text", cwd=folder)
    steps = ("--steps", PLOTTED_STEPS, "--set", "run.log_every=1", "--set", "run.eval_every=20")
    for seed in (1, 2):
        options = ("--run-name", f"plotted-{seed}", "--set", f"run.seed={seed}")
        electra("train", "--preset", "tiny", *options, *steps, cwd=folder)
    python = partial(run, sys.executable, "-c", cwd=folder)
    small = ("--preset", "small", "--batch-size", SMALL_BATCH)
    contestants = {
        "python -c pass": partial(python, "pass"),
        "python -c 'import torch'": partial(python, "import torch"),
        "python -c 'import transformers'": partial(python, "import transformers"),
        "electra --help": partial(electra, "--help", cwd=folder),
        "electra plot, one run": partial(electra, "plot", "runs/plotted-1", cwd=folder),
        "electra plot, two runs": partial(
            electra, "plot", "runs/plotted-1", "runs/plotted-2", cwd=folder
        ),
        "electra train, tiny, to its first step": partial(first_step, folder, "--preset", "tiny"),
        f"electra train, small, batch {SMALL_BATCH}, to its first step": partial(
            first_step, folder, *small
        ),
    }
    turns = take_turns(contestants, repetitions)
    for name, seconds in turns.seconds.items():
        report(f"{name}, seconds", Spread.of(seconds), BARS.get(name, ""))


def first_step(folder: Path, *arguments: object) -> None:
    train_to_first_step(folder, "timed", *arguments)
    shutil.rmtree(folder / "runs" / "timed")


if __name__ == "__main__":
    main()
