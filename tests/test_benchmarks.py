"""The baselines compute what ours does, and every benchmark can start."""

import importlib
import os
from pathlib import Path

import pytest
import torch
from conftest import run_objective

from benchmarks.baselines import PaddedBatch, PlainStep
from benchmarks.batches import VOCAB_SIZE, Shape, make_batch, make_trainer
from benchmarks.matrix_products import products_of
from benchmarks.processes import Contestants, in_process
from benchmarks.training_step import set_weights, weights_of
from electra_cli.model.objectives.corruption import corrupt
from electra_cli.model.objectives.registry import training_flops

SHAPE = Shape("tiny", 5, 32)
FILES = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("name", [path.stem for path in FILES if path.stem != "__main__"])
def test_everything_that_a_benchmark_imports_exists(name):
    importlib.import_module(f"benchmarks.{name}")


@pytest.mark.parametrize("mixed", [False, True])
def test_the_plain_step_has_our_losses_and_gradients(mixed):
    config = SHAPE.config(dropout=0.0)
    # Encoders of their own, as the plain step has them.
    options = {"tie_encoders": False, "generator_width": 0.5}
    config = config.model_copy(update={"model": config.model.model_copy(update=options)})
    batch, trainer = make_batch(config, SHAPE.lengths(mixed)), make_trainer(config)
    plain = PlainStep(config)
    set_weights(plain, weights_of(trainer))
    model = trainer.model
    output = run_objective(model, batch)
    output.loss.backward()
    padded = PaddedBatch.of(batch)
    corrupted_ids = padded.input_ids.clone()
    with torch.no_grad():
        corrupted = corrupt(model.generator, batch, model.objective, VOCAB_SIZE).input_ids
    corrupted_ids[padded.attention_mask.bool()] = corrupted
    losses = plain.losses(padded, corrupted_ids)
    loss = losses.mlm + config.objective.discriminator_loss_weight * losses.rtd
    loss.backward()
    torch.testing.assert_close(loss, output.loss, rtol=1e-5, atol=0)
    ours = dict(model.discriminator.named_parameters())
    for name, parameter in plain.discriminator.named_parameters():
        torch.testing.assert_close(parameter.grad, ours[name].grad, rtol=1e-3, atol=1e-5, msg=name)


def test_the_products_are_those_of_the_step():
    config = SHAPE.config(dropout=0.1)
    batch, trainer = make_batch(config, SHAPE.lengths(mixed=False)), make_trainer(config)
    multiply, flops = products_of(lambda: trainer.train_step(iter([batch])))
    counted = training_flops(config, VOCAB_SIZE)
    assert flops == counted.count(batch.num_tokens, batch.num_masked, 5 * 32 * 32)
    multiply()


def build(name: str) -> Contestants:
    return {name: os.getpid}


@pytest.mark.slow
def test_contestants_have_processes_of_their_own():
    with in_process(build, "one") as run_one, in_process(build, "another") as run_another:
        first, second = run_one("one"), run_another("another")
        assert run_one("one") == first
    assert len({first, second, os.getpid()}) == 3
