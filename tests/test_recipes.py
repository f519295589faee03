"""The presets against the published recipes: Clark et al. 2020, table 6, and the authors' code.

Parameter counts are those of the authors' TensorFlow graphs (vocabulary 30,522, 512 positions).
"""

from typing import NamedTuple

import pytest
import torch

from electra_cli.model.networks import count_parameters
from electra_cli.model.objectives.registry import build_objective
from electra_cli.presets import load_preset


class Recipe(NamedTuple):
    layers: int
    hidden: int
    feed_forward: int
    heads: int
    embedding: int
    generator: tuple[int, int, int, int]  # layers, hidden, feed-forward, heads
    mask_fraction: float
    learning_rate: float
    batch_size: int
    length: int
    steps: int
    encoder: int  # parameters of the discriminator without its head
    with_head: int
    together: int  # of both networks, shared ones once


RECIPES = {
    "small": Recipe(
        12, 256, 1024, 4, 128, (12, 64, 256, 1), 0.15, 5e-4, 128, 128, 1_000_000,
        13_483_008, 13_549_057, 14_196_219,
    ),
    "small++": Recipe(
        12, 256, 1024, 4, 128, (12, 256, 1024, 4), 0.15, 5e-4, 128, 512, 4_000_000,
        13_483_008, 13_549_057, 23_122_875,
    ),
    "base": Recipe(
        12, 768, 3072, 12, 768, (12, 256, 1024, 4), 0.15, 2e-4, 256, 512, 766_000,
        108_891_648, 109_483_009, 119_386_427,
    ),
    "large": Recipe(
        24, 1024, 4096, 16, 1024, (24, 256, 1024, 4), 0.25, 2e-4, 2048, 512, 400_000,
        334_092_288, 335_142_913, 354_655_291,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_a_preset_is_the_published_recipe(name):
    config, recipe = load_preset(name), RECIPES[name]
    model, run = config.model, config.run
    assert (
        model.num_hidden_layers,
        model.hidden_size,
        model.intermediate_size,
        model.num_attention_heads,
        model.embedding_size,
    ) == recipe[:5]
    assert (
        model.generator_layers,
        model.generator_hidden_size,
        model.generator_intermediate_size,
        model.generator_heads,
    ) == recipe.generator
    assert config.objective.mask_fraction == recipe.mask_fraction
    assert config.optim.learning_rate == recipe.learning_rate
    assert (run.batch_size, config.data.max_seq_length, run.num_steps) == (
        recipe.batch_size,
        recipe.length,
        recipe.steps,
    )


@pytest.mark.parametrize("name", RECIPES)
def test_what_all_recipes_have_in_common(name):
    config = load_preset(name)
    optim, objective, model = config.optim, config.objective, config.model
    assert (optim.adam_beta1, optim.adam_beta2, optim.adam_epsilon) == (0.9, 0.999, 1e-6)
    assert (optim.weight_decay, optim.max_grad_norm, optim.num_warmup_steps) == (0.01, 1.0, 10_000)
    assert (objective.generator_loss_weight, objective.discriminator_loss_weight) == (1.0, 50.0)
    assert (objective.name, objective.temperature) == ("electra", 1.0)
    assert (model.hidden_dropout_prob, model.attention_probs_dropout_prob) == (0.1, 0.1)
    assert (model.max_position_embeddings, model.tie_embeddings, model.tie_encoders) == (
        512,
        True,
        False,
    )


@pytest.mark.parametrize("name", RECIPES)
def test_a_model_has_the_published_number_of_parameters(name):
    config, recipe = load_preset(name), RECIPES[name]
    with torch.device("meta"):
        model = build_objective(config.model, config.objective, vocab_size=30_522, pad_id=0)
    assert count_parameters(model.discriminator.electra) == recipe.encoder
    assert count_parameters(model.discriminator) == recipe.with_head
    assert count_parameters(model) == recipe.together


@pytest.mark.parametrize(
    ("name", "beyond"), [("small", 0.65e6), ("base", 9.90e6), ("large", 19.5e6)]
)
def test_the_generator_adds_what_the_authors_does(name, beyond):
    recipe = RECIPES[name]
    assert recipe.together - recipe.with_head == pytest.approx(beyond, rel=5e-3)
