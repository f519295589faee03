"""Layers and scores of packed texts against Hugging Face's own forward pass, one text at a time."""

import numpy as np
import pytest
import torch
from conftest import CPU, VOCAB_SIZE, tiny_config

from electra_cli.model.objectives.registry import build_objective
from electra_cli.probing.layers import accuracies_of_layers, features_of_layers
from electra_cli.probing.pairs import MinimalPairs, rtd_scores, share_preferred, word_scores

CLS, SEP, MASK = 2, 3, 4


def texts(*lengths: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [np.array([CLS, *random.integers(5, VOCAB_SIZE, size=n), SEP]) for n in lengths]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = tiny_config(model={"initializer_range": 0.5})
    return build_objective(config.model, config.objective, VOCAB_SIZE, 0).eval()


def plain(network):
    """The same weights in modules that transformers made, and nobody changed."""
    config = type(network.config).from_dict(network.config.to_dict())
    copy = type(network)._from_config(config, attn_implementation="eager")
    copy.load_state_dict(network.state_dict())
    return copy.eval()


@pytest.mark.parametrize("at_once", [8_192, 12])
@torch.no_grad()
def test_features_are_the_means_of_hugging_faces_hidden_states(model, at_once, monkeypatch):
    monkeypatch.setattr("electra_cli.probing.texts._TOKENS_PER_PASS", at_once)
    asked = texts(3, 9, 1, 6)
    features = features_of_layers(model.discriminator, asked, CPU)
    assert [len(of_layer) for of_layer in features] == [4, 4, 4]  # embeddings and two layers
    for at, ids in enumerate(asked):
        output = plain(model.discriminator).electra(
            torch.from_numpy(ids)[None], output_hidden_states=True
        )
        for of_layer, state in zip(features, output.hidden_states, strict=True):
            assert of_layer[at] == pytest.approx(state[0].mean(dim=0).numpy(), abs=1e-4)


@torch.no_grad()
def test_a_discriminator_scores_a_text_by_what_it_takes_for_original(model):
    asked = texts(4, 7)
    scores = rtd_scores(model.discriminator, asked, CPU)
    for score, ids in zip(scores, asked, strict=True):
        logits = plain(model.discriminator)(torch.from_numpy(ids)[None]).logits[0, 1:-1]
        assert score == pytest.approx(float(torch.log(1 - torch.sigmoid(logits)).sum()), rel=1e-4)


@torch.no_grad()
def test_a_masked_language_model_scores_each_token_given_all_others(model):
    asked = texts(4, 2)
    scores = word_scores(model.generator, asked, MASK, CPU)
    for score, ids in zip(scores, asked, strict=True):
        total = 0.0
        for place in range(1, len(ids) - 1):
            masked = torch.from_numpy(ids).clone()
            masked[place] = MASK
            logits = plain(model.generator)(masked[None]).logits[0, place]
            total += float(logits.log_softmax(0)[ids[place]])
        assert score == pytest.approx(total, rel=1e-4)


def test_a_layer_that_tells_the_labels_is_told_from_one_that_does_not():
    random = np.random.default_rng(0)
    labels = [("a", "b", "c")[i] for i in random.integers(3, size=400)]
    noise = random.normal(size=(400, 8)).astype(np.float32)
    telling = noise + 4 * np.eye(8, dtype=np.float32)[["abc".index(label) for label in labels]]
    blind, sees = accuracies_of_layers([noise, telling], labels, 200)
    assert 0.2 < blind < 0.5
    assert sees > 0.95


def test_preferred_pairs_are_counted_within_each_paradigm():
    pairs = MinimalPairs(texts(1, 2, 4, 2), texts(1, 4, 2, 2), ["x", "x", "x", "y"])
    # x: won, lost, equal; y: lost.
    found = share_preferred(pairs, [2, 1, 3, 0], [1, 3, 3, 5])
    assert found == pytest.approx(((1 + 0 + 0.5) / 3 + 0) / 2)
    # By token: 2 > 1, 0.5 < 0.75, 0.75 < 1.5, 0 < 2.5.
    found = share_preferred(pairs, [2, 1, 3, 0], [1, 3, 3, 5], by_token=True)
    assert found == pytest.approx((1 / 3 + 0) / 2)


@torch.no_grad()
def test_a_text_without_tokens_scores_nothing_per_token(model):
    asked = texts(0, 2)
    for scores in (
        rtd_scores(model.discriminator, asked, CPU),
        word_scores(model.generator, asked, MASK, CPU),
    ):
        assert scores[0] == 0 > scores[1]
    pairs = MinimalPairs(texts(0, 2), texts(0, 0), ["x", "x"])
    assert share_preferred(pairs, [0, -1], [0, 0], by_token=True) == 0.25
    assert word_scores(model.generator, texts(0), MASK, CPU) == [0]
