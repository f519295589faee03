"""Our training step compared with others', and with its own matrix products.

    python -m benchmarks.training_step [--repetitions 5]

Every contestant has the same initial weights, the same text and its own process; before the clock
starts, losses are compared. See benchmarks/README.md for what each line says.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from benchmarks.baselines import IGNORED, ElectraPytorchStep, Losses, PaddedBatch, PlainStep
from benchmarks.batches import VOCAB_SIZE, Shape, make_batch, make_trainer
from benchmarks.matrix_products import products_of
from benchmarks.processes import Contestants, in_process
from benchmarks.turns import report, take_turns
from electra_cli.batch import Batch
from electra_cli.model.objectives.corruption import corrupt
from electra_cli.model.objectives.electra import ElectraObjective
from electra_cli.model.objectives.objective import StepCounts
from electra_cli.training.trainer import Trainer

SMALL, BASE = Shape("small", 16, 128), Shape("base", 2, 512)
# What a line should reach: (against Hugging Face, against electra-pytorch) by (mixed, dropout).
BARS = {
    (False, 0.0): (1.6, None),
    (False, 0.1): (1.4, 1.9),
    (True, 0.0): (2.3, None),
    (True, 0.1): (2.1, 2.8),
}
PRODUCT_BARS = {0.0: 0.80, 0.1: 0.72}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    repetitions = parser.parse_args().repetitions
    # A turn of base takes five times as long.
    for shape, count in ((SMALL, repetitions), (BASE, max(1, repetitions // 2))):
        for mixed, dropout in BARS:
            compare(shape, mixed, dropout, count)


def compare(shape: Shape, mixed: bool, dropout: float, repetitions: int) -> None:
    with TemporaryDirectory() as folder, ExitStack() as processes:
        weights = Path(folder) / "weights.pt"
        save_checked_weights(shape, mixed, dropout, weights)
        contestants: dict[str, Callable[[], object]] = {}
        for name in ("ours", "plain", "package"):
            run = processes.enter_context(in_process(build, name, shape, mixed, dropout, weights))
            contestants[name] = partial(run, name)
            if name == "ours" and not mixed:
                contestants["products"] = partial(run, "products")
                flops = run("flops")
        turns = take_turns(contestants, repetitions)

    lengths = "mixed lengths" if mixed else "full length"
    case = f"{shape.preset}, {lengths}, dropout {dropout:g}"
    num_tokens = sum(shape.lengths(mixed))
    report(f"{case}: ours", f"{turns.rate('ours', num_tokens):,.0f} tokens/s")
    against_plain, against_package = BARS[mixed, dropout]
    report("  times Hugging Face's step", turns.ratio("plain", "ours"), f"bar: {against_plain}")
    bar = f"bar: {against_package}" if against_package else ""
    report("  times electra-pytorch's step", turns.ratio("package", "ours"), bar)
    if not mixed:
        rate = f"{turns.rate('products', flops) / 1e9:,.0f} GFLOP/s"
        report("  its matrix products alone", rate)
        share = turns.ratio("products", "ours")
        report("  share of that rate", share, f"bar: {PRODUCT_BARS[dropout]}")


def build(name: str, shape: Shape, mixed: bool, dropout: float, weights: Path) -> Contestants:
    """In its own process: our step and its products, or a baseline's step."""
    config = shape.config(dropout)
    batch = make_batch(config, shape.lengths(mixed))
    if name == "ours":
        trainer = make_trainer(config)
        multiply, flops = products_of(lambda: trainer.train_step(iter([batch])))
        return {
            "ours": lambda: trainer.train_step(iter([batch])),
            "products": multiply,
            "flops": lambda: flops,
        }
    baseline = (PlainStep if name == "plain" else ElectraPytorchStep)(config)
    set_weights(baseline, torch.load(weights))
    padded = PaddedBatch.of(batch)
    return {name: lambda: baseline.train(padded)}


def save_checked_weights(shape: Shape, mixed: bool, dropout: float, path: Path) -> None:
    """Save the initial weights of all contestants, for which they must give the same losses."""
    config = shape.config(dropout)
    trainer = make_trainer(config)
    weights = weights_of(trainer)
    torch.save(weights, path)
    plain, package = PlainStep(config), ElectraPytorchStep(config)
    for each in (plain, package):
        set_weights(each, weights)
    check_losses(trainer, make_batch(config, shape.lengths(mixed)), plain, package)


def weights_of(trainer: Trainer) -> dict[str, dict[str, Tensor]]:
    """The weights of each network; make_trainer draws the same in every process."""
    return {name: each.state_dict() for name, each in trainer.model.networks().items()}


def set_weights(baseline: PlainStep, weights: Mapping[str, Mapping[str, Tensor]]) -> None:
    baseline.discriminator.load_state_dict(weights["discriminator"])
    baseline.generator.load_state_dict(weights["generator"])


@torch.no_grad()
def check_losses(
    trainer: Trainer, batch: Batch, plain: PlainStep, package: ElectraPytorchStep
) -> None:
    """Stop unless all have the same losses, dropout off, for the same masks and samples."""
    model = trainer.model
    assert isinstance(model, ElectraObjective)
    for module in (model, plain.networks, package.networks):
        module.eval()
    step = StepCounts(batch.num_masked, batch.num_tokens)
    *_, last = model.losses(batch, step)
    sums = last.sums
    ours = Losses(sums["mlm_loss"] / sums["predicted"], sums["rtd_loss"] / sums["judged"])
    corrupted = corrupt(model.generator, batch, model.objective, VOCAB_SIZE).input_ids
    padded = PaddedBatch.of(batch)
    corrupted_ids = padded.input_ids.clone()
    corrupted_ids[padded.attention_mask.bool()] = corrupted
    torch.testing.assert_close(plain.losses(padded, corrupted_ids), ours, rtol=1e-5, atol=0)
    with chosen_by(padded, corrupted_ids):
        torch.testing.assert_close(package.losses(padded), ours, rtol=1e-5, atol=0)


@contextmanager
def chosen_by(batch: PaddedBatch, corrupted_ids: Tensor) -> Iterator[None]:
    """Give the package our masks and samples, which it would draw itself."""
    from electra_pytorch import electra_pytorch as package

    is_masked = batch.labels != IGNORED
    ours = {
        "get_mask_subset_with_prob": lambda mask, prob: is_masked,
        "prob_mask_like": lambda tensor, prob: batch.masked_ids != batch.input_ids,
        "gumbel_sample": lambda logits, temperature: corrupted_ids[is_masked],
    }
    theirs = {name: getattr(package, name) for name in ours}
    for name, function in ours.items():
        setattr(package, name, function)
    yield
    for name, function in theirs.items():
        setattr(package, name, function)


if __name__ == "__main__":
    main()
