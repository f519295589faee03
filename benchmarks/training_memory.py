"""Peak resident memory of a training step, and what gradient checkpointing saves of it.

    python -m benchmarks.training_memory

For peaks, a child process makes one contestant, runs three steps, and prints the largest resident
size that the kernel reports. Activations are the tensors that are made in a forward pass and still
exist after it, by torch's profiler, without gradients.
"""

import os
import subprocess
import sys

from torch.profiler import ProfilerActivity, profile

from benchmarks.baselines import PaddedBatch, PlainStep
from benchmarks.batches import Shape, make_batch, make_trainer
from benchmarks.processes import peak_bytes
from benchmarks.turns import report
from electra_cli.model.objectives.objective import StepCounts

STEPS = 3
BASE = Shape("base", 2, 512)


def main() -> None:
    if len(sys.argv) > 1:
        contestant, num_windows, dropout = sys.argv[1:]
        take_steps(contestant, int(num_windows), float(dropout))
        print(peak_bytes(os.getpid()))
        return
    for dropout in (0.0, 0.1):
        ours, plain = (peak_of_child(name, 16, dropout) for name in ("ours", "plain"))
        report(f"small, 16 x 128, dropout {dropout:g}: ours", f"{ours / 2**20:,.0f} MB")
        report("  Hugging Face's step", f"{plain / 2**20:,.0f} MB")
        report("  ours to theirs", f"{ours / plain:.2f}", "bar: at most 0.60")
    kept, again = (activation_bytes(checkpointing) for checkpointing in (False, True))
    report("base, 2 x 512, dropout 0.1: activations", f"{kept / 2**20:,.0f} MB")
    report("  with gradient checkpointing", f"{again / 2**20:,.0f} MB")
    report("  those to all", f"{again / kept:.2f}", "bar: at most 0.50")


def peak_of_child(contestant: str, num_windows: int, dropout: float) -> int:
    """Bytes, of the small preset on full windows; contestant: ours, checkpointing or plain."""
    arguments = [contestant, str(num_windows), str(dropout)]
    command = [sys.executable, "-m", "benchmarks.training_memory", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout.splitlines()[-1])


def take_steps(contestant: str, num_windows: int, dropout: float) -> None:
    shape = Shape("small", num_windows, 128)
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
            trainer.train_step(iter([batch]))


def activation_bytes(checkpointing: bool) -> int:
    config = BASE.config(dropout=0.1)
    model = make_trainer(config).model
    if checkpointing:
        model.enable_gradient_checkpointing()
    batch = make_batch(config, BASE.lengths(mixed=False))

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        losses = model.losses(batch, StepCounts(batch.num_masked, batch.num_tokens))
        next(losses).loss.backward()  # the generator's
        last = next(losses).loss
    assert profiler.profiler is not None
    events = profiler.profiler.kineto_results.events()
    alive = sum(event.nbytes() for event in events if event.name() == "[memory]")
    assert last.requires_grad  # and so holds the activations
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return alive - sum(gradient.nbytes for gradient in gradients)


if __name__ == "__main__":
    main()
