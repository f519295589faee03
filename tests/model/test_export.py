"""An exported folder opens as the model that was trained, or does not take its place."""

import pytest
import torch
from conftest import tiny_config, tiny_reader
from transformers import AutoModelForMaskedLM, AutoModelForPreTraining

from electra_cli.batch import Batch
from electra_cli.model.export import export_network, logit_difference
from electra_cli.model.objectives.registry import build_objective


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = tiny_config()
    return build_objective(config.model, config.objective, 600, pad_id=0).train()


@pytest.fixture
def sample() -> Batch:
    return tiny_reader(tiny_config()).read(0, 0, 4)


def test_a_folder_opens_as_the_network(model, sample, tmp_path):
    for name, auto in (
        ("discriminator", AutoModelForPreTraining),
        ("generator", AutoModelForMaskedLM),
    ):
        network, folder = model.networks()[name], tmp_path / name
        export_network(network, folder, sample)
        loaded = auto.from_pretrained(folder)
        for key, weight in network.state_dict().items():
            assert torch.equal(loaded.state_dict()[key], weight), key
        assert network.training  # as before


def test_a_network_is_compared_on_the_cpu(model, sample, tmp_path, monkeypatch):
    """TF32 products, bf16 and Apple's GPUs are less exact than the comparison asks for."""
    network = model.networks()["discriminator"]
    copies = []
    monkeypatch.setattr(type(network), "cpu", lambda copy: copies.append(copy) or copy)
    export_network(network, tmp_path, sample)
    assert len(copies) == 1
    assert copies[0] is not network


def test_weights_that_came_out_differently_are_not_exported(model, sample, tmp_path, monkeypatch):
    network = model.networks()["discriminator"]
    save = network.save_pretrained

    def save_other_weights(folder):
        with torch.no_grad():
            network.discriminator_predictions.dense.bias[0] += 1
        save(folder)
        with torch.no_grad():
            network.discriminator_predictions.dense.bias[0] -= 1

    monkeypatch.setattr(network, "save_pretrained", save_other_weights)
    with pytest.raises(RuntimeError, match=r"dense\.bias differs from the trained weights"):
        export_network(network, tmp_path, sample)


def test_logits_may_differ_by_their_last_digits_alone():
    logits = torch.tensor([1.0, -400.0])
    assert logit_difference(logits, logits * (1 + 5e-6)) is None
    assert logit_difference(logits, logits * (1 + 5e-5)) == pytest.approx(0.02, rel=0.01)
    assert logit_difference(torch.ones(1), torch.ones(1) + 2e-4) is not None
    assert logit_difference(logits, logits * torch.nan) is not None


@pytest.mark.parametrize("name", ["discriminator", "generator"])
def test_a_network_that_computes_something_else_is_not_exported(model, sample, tmp_path, name):
    """The same weights, but the trained one scales its attention in a way no file holds."""
    network = model.networks()[name]
    with torch.no_grad():  # away from the small initial weights, so that attention matters
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    export_network(network, tmp_path / "before", sample)
    network.electra.encoder.layer[0].attention.self.scaling *= 3
    with pytest.raises(RuntimeError, match="logits differ by"):
        export_network(network, tmp_path / "after", sample)
