"""Peak resident memory of a training step, each in a process of its own.

    python -m benchmarks.training_memory

A child process makes one contestant, runs three steps, and prints the largest resident size that
the kernel saw. What the tokens take is the difference to a batch of one short window.
"""

import resource
import subprocess
import sys

from benchmarks.baselines import PaddedBatch, PlainStep
from benchmarks.batches import Shape, make_batch, make_trainer
from benchmarks.turns import report

STEPS = 3
SHORTEST = 8


def main() -> None:
    if len(sys.argv) > 1:
        contestant, preset, sequences, length, dropout = sys.argv[1:]
        run(contestant, Shape(preset, int(sequences), int(length)), float(dropout))
        return
    for dropout in (0.0, 0.1):
        ours = peak_megabytes("ours", "small", 16, 128, dropout)
        plain = peak_megabytes("plain", "small", 16, 128, dropout)
        report(f"small, 16 x 128, dropout {dropout:g}: ours", f"{ours:,.0f} MB")
        report("  Hugging Face's step", f"{plain:,.0f} MB")
        report("  ours to theirs", f"{ours / plain:.2f}", "<= 0.60")
    kept = tokens_megabytes("ours", "base", 2, 512, 0.1)
    again = tokens_megabytes("checkpointing", "base", 2, 512, 0.1)
    report("base, 2 x 512, dropout 0.1: what the tokens take", f"{kept:,.0f} MB")
    report("  with gradient checkpointing", f"{again:,.0f} MB")
    report("  that to all of it", f"{again / kept:.2f}", "<= 0.50")


def tokens_megabytes(
    contestant: str, preset: str, sequences: int, length: int, dropout: float
) -> float:
    whole = peak_megabytes(contestant, preset, sequences, length, dropout)
    return whole - peak_megabytes(contestant, preset, 1, SHORTEST, dropout)


def peak_megabytes(
    contestant: str, preset: str, sequences: int, length: int, dropout: float
) -> float:
    arguments = [contestant, preset, str(sequences), str(length), str(dropout)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.training_memory", *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout.splitlines()[-1])


def run(contestant: str, shape: Shape, dropout: float) -> None:
    config = shape.config(dropout)
    batch = make_batch(config, shape.lengths(mixed=False))
    if contestant == "plain":
        plain, padded = PlainStep(config), PaddedBatch.of(batch)
        for _ in range(STEPS):
            plain.train(padded)
    else:
        trainer = make_trainer(config)
        if contestant == "checkpointing":
            trainer.model.enable_gradient_checkpointing()
        for _ in range(STEPS):
            trainer.train_step(batch)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
