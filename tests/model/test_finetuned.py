"""Models that answer something: opened as what they are, or refused."""

import pytest
import torch
from safetensors.torch import save_file
from tiny_tasks import SPECS, tiny_encoder
from transformers import ElectraConfig, ElectraForMaskedLM, ElectraForPreTraining

from electra_cli.errors import RunError
from electra_cli.model.finetuned import is_discriminator, open_finetuned
from electra_cli.model.heads import as_exported, build_network


@pytest.mark.parametrize("kind", SPECS)
def test_a_model_that_was_saved_opens_as_what_it_is(kind, tmp_path):
    network = build_network(tiny_encoder(), SPECS[kind], seed=0, is_trained=True)
    saved = as_exported(network, kind)
    saved.save_pretrained(tmp_path)
    opened, found = open_finetuned(tmp_path)
    assert (type(opened), found) == (type(saved), kind)
    assert not is_discriminator(opened.config)
    for name, tensor in opened.state_dict().items():
        assert torch.equal(tensor, saved.state_dict()[name])


def test_a_discriminator_answers_for_tokens(tmp_path):
    ElectraForPreTraining(tiny_encoder().config).save_pretrained(tmp_path)
    opened, kind = open_finetuned(tmp_path)
    assert isinstance(opened, ElectraForPreTraining)
    assert kind == "token"
    assert is_discriminator(opened.config)
    assert not is_discriminator(ElectraConfig())


def test_what_answers_nothing_is_refused(tmp_path):
    encoder = tiny_encoder()
    ElectraForMaskedLM(encoder.config).save_pretrained(tmp_path / "generator")
    with pytest.raises(RunError, match="is a ElectraForMaskedLM, which answers nothing yet"):
        open_finetuned(tmp_path / "generator")
    encoder.config.architectures = None
    encoder.config.save_pretrained(tmp_path / "bare")
    with pytest.raises(RunError, match="model of an unknown kind"):
        open_finetuned(tmp_path / "bare")
    with pytest.raises(RunError, match="no model that transformers opens"):
        open_finetuned(tmp_path / "none")


def test_a_model_that_lacks_a_weight_is_refused(tmp_path):
    """transformers would draw it at random, and say so in a log that nobody reads."""
    network = build_network(tiny_encoder(), SPECS["token"], seed=0, is_trained=True)
    weights = as_exported(network, "token").state_dict()
    as_exported(network, "token").save_pretrained(tmp_path)
    for lost in ("classifier.bias", "classifier.weight"):
        del weights[lost]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RunError, match=r"lacks classifier\.bias and 1 more"):
        open_finetuned(tmp_path)
