"""A generator that is frozen, or trains alone at first; samples by a temperature that moves."""

import pytest
import torch
from conftest import CPU, VOCAB_SIZE, take_steps, tiny_config, tiny_reader

from electra_cli.data.batches import Position, iter_batches
from electra_cli.model.layer_rates import LayerRates
from electra_cli.model.objectives.corruption import corrupt
from electra_cli.model.objectives.objective import StepCounts
from electra_cli.model.objectives.registry import build_objective, training_flops
from electra_cli.training.trainer import Trainer

NAMES = ["electra", "electra_masked_only", "replace_mlm", "all_tokens_mlm"]


def trainer_of(name: str = "electra", optim: dict[str, object] | None = None, **objective: object):
    """A trainer with its batches; the frozen generator is as good as any: drawn."""
    frozen = {
        "tie_embeddings": False,
        "generator_from": "elsewhere",
        "generator_embedding_size": 24,
    }
    config = tiny_config(
        objective={"name": name, **objective},
        model=frozen if "freeze_generator" in objective else {},
        optim=optim or {},
        run={"num_steps": 8},
    )
    torch.manual_seed(0)
    model = build_objective(config.model, config.objective, VOCAB_SIZE, pad_id=0)
    batches = (batch for batch, _ in iter_batches(tiny_reader(config), 8, Position()))
    return Trainer(model, config, CPU), batches


def copies(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("objective", [{"name": "mlm"}, {"uniform_generator": True}])
def test_without_a_generator_none_is_frozen(objective):
    """A preset that freezes it can be used with any objective."""
    name = objective.pop("name", "electra")
    trainer, batches = trainer_of(name, freeze_generator=True, **objective)
    list(take_steps(trainer, batches, 1))
    assert trainer.flush(0.0).objective["loss"] > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_frozen_generator_stays_bit_for_bit_and_costs_a_forward_pass(name):
    trainer, batches = trainer_of(name, freeze_generator=True, temperature=2.0)
    before = copies(trainer)
    list(take_steps(trainer, batches, 4))
    moved = changed(before, copies(trainer))
    assert not [each for each in moved if each.startswith("generator.")]
    assert moved == {each for each in before if not each.startswith("generator.")}
    moments = trainer.tensors()["optimizer"]
    assert moments
    assert not [each for each in moments if ".generator." in each]
    assert not trainer.model.generator.training
    assert trainer.model.networks()[trainer.model.main_network].training
    metrics = trainer.flush(0.0).objective
    assert metrics["mlm_loss"] > 4  # still reported, but no part of what is minimised
    assert metrics["loss"] < 50

    usual, _ = trainer_of(name)
    own = usual.model.main_flops(tiny_config().model, VOCAB_SIZE)
    for kind in ("per_token", "per_masked", "per_squared_length"):
        whole, frozen, main = (
            getattr(flops, kind) for flops in (usual.model.flops, trainer.model.flops, own)
        )
        # A forward pass of three: forward, and two for the gradients.
        assert frozen - main == pytest.approx((whole - main) / 3)


@pytest.mark.parametrize("name", NAMES)
def test_a_generator_that_trains_alone_leaves_the_main_network_as_it_was(name):
    trainer, batches = trainer_of(name, discriminator_start_step=3)
    before = copies(trainer)
    # The first update has rate 0, so two others are alone.
    list(take_steps(trainer, batches, 3))
    alone = copies(trainer)
    own = {each for each in before if each.startswith("generator.")}
    assert changed(before, alone) == own
    metrics = trainer.flush(0.0)
    assert metrics.objective["mlm_loss"] > 4
    main = {"replace_mlm": "word_loss", "all_tokens_mlm": "word_loss"}.get(name, "rtd_loss")
    assert metrics.objective[main] is None
    whole, main_flops = (
        flops.count(100, 10, 1000)
        for flops in (
            trainer.model.flops,
            trainer.model.main_flops(tiny_config().model, VOCAB_SIZE),
        )
    )
    assert trainer.model.flops_at(2).count(100, 10, 1000) == pytest.approx(whole - main_flops)
    assert trainer.model.flops_at(3) == trainer.model.flops

    # Held-out text is read by both networks all the while.
    config = tiny_config(objective={"name": name})
    assert trainer.evaluate([tiny_reader(config).read(0, 0, 4)])[main] > 0

    list(take_steps(trainer, batches, 4))
    assert changed(alone, copies(trainer)) == set(before)
    assert trainer.flush(0.0).objective[main] > 0


def test_a_run_goes_on_exactly_across_the_end_of_the_time_alone():
    whole, batches = trainer_of(discriminator_start_step=3)
    list(take_steps(whole, batches, 5))
    first, batches = trainer_of(discriminator_start_step=3)
    list(take_steps(first, batches, 2))
    rest, _ = trainer_of(discriminator_start_step=3)
    rest.load(first.tensors(), first.state())
    list(take_steps(rest, batches, 5))
    assert changed(copies(whole), copies(rest)) == set()
    assert whole.flush(0.0).objective == rest.flush(0.0).objective


def test_samples_are_drawn_at_the_temperature_of_the_step():
    moving, _ = trainer_of(temperature={"start": 4.0, "end": 0.5, "over": 0.5})
    batch = tiny_reader(tiny_config()).read(0, 0, 8)
    for number, temperature in ((0, 4.0), (2, 2.25), (4, 0.5), (7, 0.5)):
        step = StepCounts(batch.num_masked, batch.num_tokens, number, 8)
        fixed, _ = trainer_of(temperature=temperature)
        found, expected = (
            corrupt(each.model.eval().generator, batch, each.model.objective, VOCAB_SIZE, step)
            for each in (moving, fixed)
        )
        assert torch.equal(found.input_ids, expected.input_ids), number


def test_lower_layers_of_the_main_network_learn_more_slowly():
    trainer, _ = trainer_of(optim={"layer_decay": 0.5})
    rates = {}
    for group in trainer._optimizer.param_groups:
        rates |= dict.fromkeys(group["params"], group["rate_factor"])
    model = trainer.model
    assert {rates[p] for p in model.generator.electra.encoder.parameters()} == {1.0}
    expected = LayerRates(0.5).factors(model.discriminator)
    assert {p: rates[p] for p in expected} == expected
    assert min(expected.values()) == 0.5**4


def test_the_flops_of_a_config_are_those_of_its_model():
    for objective in ({}, {"freeze_generator": True}):
        trainer, _ = trainer_of(**objective)
        assert training_flops(trainer._config, VOCAB_SIZE) == trainer.model.flops
