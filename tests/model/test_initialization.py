"""The authors' initial weights, by moments and bounds (recorded from their code for small)."""

import math

import pytest
import torch

from electra_cli.model.initialization import set_sinusoids
from electra_cli.model.objectives.electra import ElectraObjective
from electra_cli.presets import load_preset


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    config = load_preset("small")
    torch.manual_seed(0)
    model = ElectraObjective(config.model, config.objective, vocab_size=30_522, pad_id=0)
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


# A normal cut at two deviations keeps 0.8796 of its deviation; the authors' code gave 0.01758.
TRUNCATED_DEVIATION = 0.02 * 0.8796


def test_weights_are_truncated_normal(weights):
    names = [n for n in weights if n.endswith("weight") and "LayerNorm" not in n]
    glorot = ("embeddings_project.weight", "dense_prediction.weight")
    plain = [n for n in names if not n.endswith(glorot)]
    assert len(plain) > 140
    for name in plain:
        weight = weights[name]
        assert weight.abs().max() <= 0.04, name
        spread = 4 / math.sqrt(2 * weight.numel())  # four deviations of a standard deviation
        assert weight.std().item() == pytest.approx(TRUNCATED_DEVIATION, rel=spread), name
        assert abs(weight.mean()) < 4 * TRUNCATED_DEVIATION / math.sqrt(weight.numel()), name


@pytest.mark.parametrize(
    ("name", "bound"),
    [
        # sqrt(6 / (in + out)); the authors' code gave 0.17677 for the generator's projection.
        ("generator.electra.embeddings_project.weight", math.sqrt(6 / (128 + 64))),
        ("discriminator.electra.embeddings_project.weight", math.sqrt(6 / (128 + 256))),
        ("discriminator.discriminator_predictions.dense_prediction.weight", math.sqrt(6 / 257)),
    ],
)
def test_the_projections_and_the_last_layer_are_glorot_uniform(weights, name, bound):
    weight = weights[name]
    assert weight.abs().max() <= bound
    assert weight.abs().max() > 0.97 * bound
    deviation = bound / math.sqrt(3)
    assert weight.std().item() == pytest.approx(deviation, rel=4 / math.sqrt(2 * weight.numel()))


def test_the_pad_row_is_not_zeroed(weights):
    row = weights["discriminator.electra.embeddings.word_embeddings.weight"][0]
    assert row.std().item() == pytest.approx(TRUNCATED_DEVIATION, rel=0.25)


def test_biases_and_layer_norms_start_neutral(weights):
    for name, weight in weights.items():
        if name.endswith("bias"):
            assert not weight.any(), name
        elif "LayerNorm" in name:
            assert (weight == 1).all(), name


def test_sinusoids_are_twice_as_large_as_the_normal_start():
    config = load_preset("small", {"model.position_init": "sinusoidal"})
    torch.manual_seed(0)
    model = ElectraObjective(config.model, config.objective, vocab_size=100, pad_id=0)
    positions = model.discriminator.electra.embeddings.position_embeddings.weight.detach()
    assert positions.square().mean().sqrt().item() == pytest.approx(0.04)
    # The product of two positions depends on their distance alone.
    near = positions @ positions.T
    torch.testing.assert_close(near.diagonal(3), near.diagonal(3)[0].expand(509))


def test_sinusoids_are_those_of_the_paper_at_twice_the_deviation():
    positions = torch.nn.Embedding(7, 5)  # an odd size: the last pair has a sine alone
    set_sinusoids(positions, 0.02)
    for position in range(7):
        for column in range(5):
            angle = position / 10_000 ** ((column - column % 2) / 5)
            wave = math.cos(angle) if column % 2 else math.sin(angle)
            expected = wave * 2 * math.sqrt(2) * 0.02
            assert positions.weight[position, column].item() == pytest.approx(expected, abs=1e-7)
