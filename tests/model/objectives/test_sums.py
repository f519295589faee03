import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from electra_cli.model.objectives.sums import (
    area_under_curve,
    corruption_metrics,
    entropy,
    mlm_metrics,
    rtd_metrics,
    word_metrics,
)


def test_metrics_are_means_over_what_was_counted():
    sums = {
        "mlm_loss": 12.0, "predicted": 12, "rtd_loss": 30.0, "replaced": 10, "rtd_replaced": 10,
        "rtd_flagged": 4, "rtd_found": 3, "judged": 150, "word_loss": 10.0, "words": 10,
        "mlm_masked_loss": 8.0, "shown_masks": 4, "mlm_correct": 3, "sampled_correct": 6,
        "word_correct": 5, "rtd_correct": 120, "tokens": 150, "masked": 12,
    }  # fmt: skip
    assert mlm_metrics(sums) == {
        "mlm_loss": 1.0,
        "mlm_masked_loss": 2.0,
        "mlm_accuracy": 0.25,
        "sampled_accuracy": 0.5,
    }
    assert corruption_metrics(sums) == {"replaced_fraction": pytest.approx(1 / 15)}
    assert rtd_metrics(sums) == {
        "rtd_loss": pytest.approx(0.2),
        "rtd_constant_loss": pytest.approx(entropy(1 / 15)),
        "rtd_accuracy": pytest.approx(0.8),
        "rtd_precision": 0.75,
        "rtd_recall": pytest.approx(0.3),
    }
    assert word_metrics(sums) == {"word_loss": 1.0, "word_accuracy": 0.5}


@pytest.mark.parametrize("make", [mlm_metrics, corruption_metrics, rtd_metrics, word_metrics])
def test_means_over_nothing_are_none(make):
    found = make({"tokens": 0, "masked": 0})
    assert found == dict.fromkeys(found)


def test_shares_of_nothing_are_none():
    sums = {"rtd_loss": 1.0, "judged": 10, "rtd_correct": 10, "rtd_replaced": 0}
    metrics = rtd_metrics({**sums, "rtd_found": 0, "rtd_flagged": 0})
    assert metrics["rtd_precision"] is None  # nothing was flagged
    assert metrics["rtd_recall"] is None  # nothing was replaced
    assert metrics["rtd_constant_loss"] == 0.0


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
