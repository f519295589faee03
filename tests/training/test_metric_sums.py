import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from electra_cli.model.objectives.sums import PretrainSums
from electra_cli.training.metric_sums import MetricWindow, area_under_curve, entropy, mean_metrics


def sums(**values: float) -> PretrainSums:
    zeros = {name: torch.tensor(0.0) for name in PretrainSums._fields}
    return PretrainSums(**{**zeros, **{k: torch.tensor(v) for k, v in values.items()}})


def test_means_are_over_all_steps_of_the_window():
    window = MetricWindow(torch.device("cpu"))
    first = sums(
        mlm_loss=10.0, predicted=4, rtd_loss=20.0, replaced=5, rtd_replaced=5, rtd_flagged=4,
        rtd_found=3, judged=100, word_loss=6.0, words=4,
    )  # fmt: skip
    second = sums(
        mlm_loss=2.0, predicted=8, rtd_loss=10.0, replaced=5, rtd_replaced=5, judged=50,
        word_loss=4.0, words=6,
    )  # fmt: skip
    window.add(first, 100, 4)
    window.add(second, 50, 8)
    means = mean_metrics(window.sums.tolist(), window.num_tokens, window.num_masked)
    assert means["mlm_loss"] == 1.0
    assert means["rtd_loss"] == pytest.approx(0.2)
    assert means["replaced_fraction"] == pytest.approx(1 / 15)
    assert means["word_loss"] == 1.0
    assert means["rtd_precision"] == 0.75
    assert means["rtd_recall"] == 0.3
    assert means["rtd_constant_loss"] == pytest.approx(entropy(1 / 15))
    window.reset()
    assert mean_metrics(window.sums.tolist(), 0, 0) == dict.fromkeys(means)


def test_shares_of_nothing_are_none():
    window = MetricWindow(torch.device("cpu"))
    window.add(sums(mlm_loss=1.0, predicted=1, judged=10), 10, 1)
    means = mean_metrics(window.sums.tolist(), 10, 1)
    assert means["rtd_precision"] is None  # nothing was flagged
    assert means["rtd_recall"] is None  # nothing was replaced
    assert means["rtd_constant_loss"] == 0.0
    assert means["word_loss"] is None


def test_an_objective_without_a_discriminator_has_none_of_its_figures():
    window = MetricWindow(torch.device("cpu"))
    window.add(sums(mlm_loss=1.0, predicted=2), 10, 2)
    means = mean_metrics(window.sums.tolist(), 10, 2)
    assert means["mlm_loss"] == 0.5
    assert [
        n for n, v in means.items() if n.startswith(("rtd", "replaced")) and v is not None
    ] == []


def test_the_constant_predictor_loses_the_entropy():
    assert entropy(0.5) == pytest.approx(math.log(2))
    assert entropy(0.1) == pytest.approx(0.325083, abs=1e-6)
    assert entropy(0.0) == entropy(1.0) == 0.0


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=60))
def test_area_under_curve_counts_pairs(pairs):
    positives = [score for score, label in pairs if label]
    negatives = [score for score, label in pairs if not label]
    scores = torch.tensor([float(score) for score, _ in pairs])
    labels = torch.tensor([label for _, label in pairs])
    found = area_under_curve(scores, labels)
    if not positives or not negatives:
        assert found is None
        return
    wins = sum((p > n) + 0.5 * (p == n) for p in positives for n in negatives)
    assert found == pytest.approx(wins / (len(positives) * len(negatives)))
