"""The yardstick ranks discriminators: one corrupted text for all, whoever their generators are."""

import pytest
import torch
from conftest import CPU, VOCAB_SIZE, tiny_config, tiny_reader
from torch.nn import functional

from electra_cli.data.batches import evaluation_batches
from electra_cli.errors import ConfigError, RunError
from electra_cli.model.objectives.electra import ElectraObjective
from electra_cli.model.objectives.sums import entropy
from electra_cli.tuning.metric import METRICS, select_metric
from electra_cli.tuning.yardstick import (
    FixedCorruption,
    corrupt_held_out,
    load_corruption,
    save_corruption,
    score_discriminator,
    score_logits,
)


def build(seed: int, **model: object) -> ElectraObjective:
    config = tiny_config(model=model)
    torch.manual_seed(seed)
    return ElectraObjective(config.model, config.objective, VOCAB_SIZE, pad_id=0)


@pytest.fixture(scope="module")
def yardstick() -> FixedCorruption:
    held_out = evaluation_batches(tiny_reader(tiny_config()), 24, 8)
    return corrupt_held_out(build(0), held_out, CPU)


def score(model: ElectraObjective, yardstick: FixedCorruption, micro_batch_size: int = 8):
    return score_discriminator(model, yardstick, CPU, micro_batch_size)


def test_only_chosen_tokens_are_corrupted_and_some_are(yardstick):
    changed = yardstick.is_replaced
    chosen = torch.zeros_like(changed)
    chosen[yardstick.original.masked_positions] = True
    assert 0 < changed.sum() <= chosen.sum()
    assert not (changed & ~chosen).any()


def test_the_same_generator_corrupts_the_same_way_again(yardstick):
    held_out = evaluation_batches(tiny_reader(tiny_config()), 24, 5)  # other micro-batches
    again = corrupt_held_out(build(0), held_out, CPU)
    assert torch.equal(again.corrupted.input_ids, yardstick.corrupted.input_ids)


def test_a_discriminator_scores_the_same_whatever_its_own_generator(yardstick):
    narrow = build(1, generator_width=0.25, tie_embeddings=False)
    wide = build(2, generator_width=1.0, tie_embeddings=False)
    wide.discriminator.load_state_dict(narrow.discriminator.state_dict())
    assert score(wide, yardstick) == score(narrow, yardstick)
    assert score(build(3), yardstick) != score(narrow, yardstick)


def test_logits_that_know_the_labels_rank_first(yardstick):
    best = score_logits(yardstick.is_replaced.float() * 10 - 5, yardstick)
    assert best.rtd_loss < 0.01 < score(build(4), yardstick).rtd_loss
    assert best.rtd_auc == best.rtd_content_auc == 1.0


def test_the_loss_asks_what_logits_know_and_not_how_many_replacements_they_expect(yardstick):
    noise = torch.randn(yardstick.is_replaced.shape, generator=torch.Generator().manual_seed(7))
    logits = yardstick.is_replaced.float() + noise
    plain = score_logits(logits, yardstick)
    assert 0.6 < plain.rtd_auc < 0.9
    for offset in (-3.0, 5.0):  # as if trained with another mask fraction
        shifted = score_logits(logits + offset, yardstick)
        assert shifted.rtd_loss == pytest.approx(plain.rtd_loss, abs=1e-6)
        assert shifted.rtd_auc == pytest.approx(plain.rtd_auc, abs=1e-3)  # rounding makes ties
    constant = entropy(yardstick.replaced_fraction)
    flat = score_logits(torch.full_like(logits, 2.0), yardstick)
    assert flat.rtd_loss == pytest.approx(constant, abs=1e-6)
    assert plain.rtd_loss < constant


def test_the_offset_is_the_one_of_least_loss(yardstick):
    logits = torch.randn(yardstick.is_replaced.shape, generator=torch.Generator().manual_seed(8))
    found = score_logits(logits, yardstick).rtd_loss
    labels = yardstick.is_replaced.double()
    losses = [
        functional.binary_cross_entropy_with_logits(logits.double() + offset, labels).item()
        for offset in torch.linspace(-6, 2, 801).tolist()
    ]
    assert found <= min(losses) + 1e-12
    assert found == pytest.approx(min(losses), abs=1e-4)


def test_scoring_neither_trains_nor_draws_random_numbers(yardstick):
    model = build(5)
    before = {name: p.clone() for name, p in model.named_parameters()}
    state = torch.get_rng_state()
    first = score(model, yardstick)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())
    assert score(model, yardstick, micro_batch_size=5).rtd_loss == pytest.approx(first.rtd_loss)


def test_it_scores_the_same_after_it_was_written_down(yardstick, tmp_path):
    path = tmp_path / "yardstick.safetensors"
    sha256 = save_corruption(yardstick, path)
    assert score(build(6), load_corruption(path, sha256, "here")) == score(build(6), yardstick)


def test_a_changed_or_missing_yardstick_is_refused(yardstick, tmp_path):
    path = tmp_path / "yardstick.safetensors"
    sha256 = save_corruption(yardstick, path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match="is not the text that the other trials were scored on"):
        load_corruption(path, sha256, "elsewhere")
    path.unlink()
    with pytest.raises(RunError, match="is missing") as raised:
        load_corruption(path, sha256, "elsewhere")
    assert "elsewhere" in raised.value.hint


SPACE = ("optim.learning_rate", "objective.mask_fraction")


@pytest.mark.parametrize("name", ["loss", "rtd_loss", "rtd_auc", "rtd_recall"])
def test_figures_on_a_trials_own_samples_do_not_compare(name):
    with pytest.raises(ConfigError) as raised:
        select_metric(name, SPACE)
    assert "different objective.mask_fraction, optim.learning_rate" in str(raised.value)
    assert "own generator" in str(raised.value)


def test_the_refusal_names_the_metric_to_take_instead():
    with pytest.raises(ConfigError) as raised:
        select_metric("rtd_auc", SPACE)
    assert raised.value.hint == "--metric yardstick_rtd_auc"


def test_a_metric_compares_unless_a_parameter_breaks_it():
    for name in ("yardstick_rtd_loss", "yardstick_rtd_auc", "mlm_loss", "sampled_accuracy"):
        assert select_metric(name, SPACE) is METRICS[name]
    with pytest.raises(ConfigError, match="temperature samples the most probable"):
        select_metric("sampled_accuracy", (*SPACE, "objective.temperature"))


def test_every_metric_is_a_figure_that_exists():
    from dataclasses import fields

    from electra_cli.tuning.yardstick import DiscriminatorScore

    known = {
        "yardstick": {field.name for field in fields(DiscriminatorScore)},
        "held_out": set(ElectraObjective.metric_names()[1]),
    }
    for metric in METRICS.values():
        assert metric.probe or metric.field in known[metric.source]


def test_an_unknown_metric_is_refused_with_those_that_compare():
    with pytest.raises(ConfigError) as raised:
        select_metric("accuracy", SPACE)
    assert "yardstick_rtd_loss" in raised.value.hint
