"""Calibration against scikit-learn and a known temperature."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics as sklearn_metrics

from electra_cli.finetuning.calibration import calibration_of, fit_temperature
from electra_cli.finetuning.predictions import ClassPredictions


def overconfident(count: int, temperature: float) -> ClassPredictions:
    """Labels drawn from softmax(logits); the model says softmax(temperature * logits)."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(count, 3)) * 1.5
    true = softmax(logits, axis=1)
    gold = (random.random((count, 1)) > np.cumsum(true, axis=1)[:, :2]).sum(axis=1)
    return ClassPredictions(("a", "b", "c"), gold, softmax(temperature * logits, axis=1))


def test_the_temperature_that_was_put_in_is_found_and_mends_the_calibration():
    predictions = overconfident(20_000, 3.0)
    temperature = fit_temperature(predictions)
    before, after = calibration_of(predictions), calibration_of(predictions, temperature)
    assert temperature == pytest.approx(3.0, rel=0.05)
    assert before.error > 0.1
    assert after.error < 0.015
    assert after.loss < before.loss
    assert after.brier < before.brier


def test_loss_and_brier_score_are_those_of_scikit_learn():
    predictions = overconfident(200, 2.0)
    found = calibration_of(predictions)
    gold, probabilities = predictions.gold, predictions.probabilities
    assert found.loss == pytest.approx(sklearn_metrics.log_loss(gold, probabilities))
    assert found.brier == pytest.approx(
        sklearn_metrics.brier_score_loss(gold, probabilities, scale_by_half=False)
    )


def test_the_expected_calibration_error_by_hand():
    # Three with 0.9 (two right) in one bin, one with 0.6 (right) in another.
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.6, 0.4]])
    found = calibration_of(ClassPredictions(("a", "b"), np.array([0, 0, 0, 0]), probabilities))
    assert found.error == pytest.approx(3 / 4 * abs(0.9 - 2 / 3) + 1 / 4 * abs(0.6 - 1))
    assert [each for each in found.bins if each[0]] == [
        (1, pytest.approx(0.6), 1.0),
        (3, pytest.approx(0.9), pytest.approx(2 / 3)),
    ]


def test_a_certain_mistake_has_a_finite_loss():
    certain = ClassPredictions(("a", "b"), np.array([0, 1]), np.array([[1.0, 0.0], [1.0, 0.0]]))
    assert 0 < calibration_of(certain).loss < 20
    assert np.isfinite(fit_temperature(certain))
