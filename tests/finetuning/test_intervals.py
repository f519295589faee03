"""Bootstrap intervals against closed forms."""

import numpy as np
import pytest
from scipy import stats

from electra_cli.finetuning.intervals import Resampled, estimate, resample
from electra_cli.finetuning.predictions import ClassPredictions, RegressionPredictions

# 2,000 resamples: the ends of an interval are known to about 5% of its half width.
CLOSE = 0.08


def right(*is_right: np.ndarray) -> list[ClassPredictions]:
    """Predictions of two classes, one per seed, that are right where it says so."""
    zeros = np.zeros(len(is_right[0]), dtype=int)
    return [
        ClassPredictions(("a", "b"), zeros, np.eye(2)[(~each).astype(int)]) for each in is_right
    ]


def first(share: float, count: int) -> np.ndarray:
    return np.arange(count) < share * count


def test_the_interval_of_an_accuracy_is_that_of_the_normal_distribution():
    found = estimate(resample(right(first(0.7, 400)), "accuracy"))
    half = 1.96 * np.sqrt(0.7 * 0.3 / 399)
    assert found.value == pytest.approx(0.7)
    assert found.low == pytest.approx(0.7 - half, abs=CLOSE * half)
    assert found.high == pytest.approx(0.7 + half, abs=CLOSE * half)


def test_the_interval_of_a_mean_of_squares_is_that_of_a_mean():
    errors = np.random.default_rng(0).normal(size=300)
    predictions = RegressionPredictions(np.zeros(300), errors)
    found = estimate(resample([predictions], "mean_squared_error"))
    half = 1.96 * (errors**2).std(ddof=1) / np.sqrt(300)
    assert found.high - found.low == pytest.approx(2 * half, rel=CLOSE)


def test_the_interval_of_a_paired_difference_is_that_of_the_examples_that_differ():
    a, b = first(0.7, 500), np.roll(first(0.68, 500), 4)
    found = estimate(resample(right(a), "accuracy") - resample(right(b), "accuracy"))
    difference = a.astype(float) - b
    half = 1.96 * difference.std(ddof=1) / np.sqrt(500)
    assert found.value == pytest.approx(0.02)
    assert found.high - found.low == pytest.approx(2 * half, rel=CLOSE)
    # Not paired it would be more than twice as wide.
    assert half < 0.45 * 1.96 * np.sqrt(2 * 0.7 * 0.3 / 500)


def test_where_only_the_seeds_vary_the_interval_is_students():
    values = np.array([0.71, 0.74, 0.69, 0.77, 0.72])
    same = Resampled(values, np.tile(values, (2000, 1)), 100)
    found = estimate(same)
    half = stats.t.ppf(0.975, 4) * values.std(ddof=1) / np.sqrt(5)
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * half, rel=0.15)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Seeds and examples that both vary: the true mean is inside in 95% of experiments or more."""
    random, inside, seeds, examples = np.random.default_rng(0), 0, 5, 200
    for _ in range(150):
        chances = stats.norm.ppf(0.7 + 0.03 * random.normal(size=(seeds, 1)))
        difficulty = random.normal(size=examples)  # shared: an example is hard for all seeds
        noise = random.normal(size=(seeds, examples))
        is_right = np.sqrt(0.7) * difficulty + np.sqrt(0.3) * noise < chances
        found = estimate(resample(right(*is_right), "accuracy"))
        inside += found.low <= 0.7 <= found.high
    assert inside / 150 >= 0.92


def test_one_of_equal_seeds_and_examples_has_an_interval_all_the_same():
    found = estimate(resample(right(first(1.0, 100)), "accuracy"))
    assert (found.value, found.low) == (1, pytest.approx(0.025 ** (1 / 100)))
    assert found.high == 1  # no share is more than that
    same = resample(right(first(0.5, 100)), "accuracy")
    assert estimate(same - same).high == pytest.approx(1 - 0.025 ** (1 / 100))


def test_it_says_what_would_be_needed_to_tell_a_difference():
    a, b = first(0.72, 100), np.roll(first(0.70, 100), 5)
    found = estimate(resample(right(a), "accuracy") - resample(right(b), "accuracy"))
    assert not found.differs_from_zero
    difference = a.astype(float) - b
    assert found.needed_examples == pytest.approx(difference.var() * (1.96 / 0.02) ** 2, rel=0.1)
    assert found.needed_seeds is None  # one seed: their spread is unknown


def test_more_seeds_are_advised_than_there_are():
    seeds = [first(0.72, 400), np.roll(first(0.80, 400), 3), np.roll(first(0.70, 400), 6)]
    other = [first(0.72, 400)] * 3
    found = estimate(resample(right(*seeds), "accuracy") - resample(right(*other), "accuracy"))
    assert not found.differs_from_zero
    values = np.array([0, 0.08, -0.02])
    count = found.needed_seeds
    of_examples = found.value**2 - stats.t.ppf(0.975, count - 1) ** 2 * values.var(ddof=1) / count
    assert count > 3
    assert of_examples > 0  # what is left for the examples' part
    assert found.needed_examples is None  # three seeds of this spread hide the difference


def test_a_metric_without_a_value_has_no_interval():
    constant = RegressionPredictions(np.arange(9.0), np.ones(9))
    found = estimate(resample([constant], "pearson"))
    assert np.isnan([found.value, found.low, found.high]).all()


def test_a_seed_that_predicts_a_constant_counts_as_no_correlation():
    gold = np.arange(30.0)
    good = RegressionPredictions(gold, gold + np.random.default_rng(0).normal(size=30))
    constant = RegressionPredictions(gold, np.ones(30))
    alone = estimate(resample([good], "pearson"))
    found = estimate(resample([good, constant], "pearson"))
    assert found.value == pytest.approx(alone.value / 2)
    assert found.low < found.value < found.high


def test_a_single_example_is_no_reason_to_fail():
    assert estimate(resample(right(np.array([True])), "accuracy")).value == 1
