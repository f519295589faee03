"""What a reader is told of differences: words and signs."""

import math

import pytest

from electra_cli.finetuning.intervals import Estimate
from electra_cli.finetuning.words import compare, pretraining_gain, show_score

ERROR = "mean_squared_error"


def difference(value: float, low: float, high: float) -> Estimate:
    return Estimate(value, low, high, 100, 5)


WORSE, BETTER = difference(-0.031, -0.05, -0.01), difference(0.031, 0.01, 0.05)


@pytest.mark.parametrize(
    ("metric", "gain", "said"),
    [
        ("accuracy", BETTER, "Pre-training gave first +3.1 (1.0 to 5.0) accuracy against"),
        ("accuracy", WORSE, "Pre-training cost first 3.1 (1.0 to 5.0) accuracy against"),
        (ERROR, WORSE, "Pre-training lowered the error of first by 0.031 (0.01 to 0.05) against"),
        (ERROR, BETTER, "Pre-training raised the error of first by 0.031 (0.01 to 0.05) against"),
    ],
)
def test_what_pre_training_gave_has_the_sign_that_its_verb_says(metric, gain, said):
    found = pretraining_gain(metric, "first", gain)
    assert found.startswith(f"{said} random weights.")
    assert ("finetune.layers=1" in found) == ("cost" in said or "raised" in said)


@pytest.mark.parametrize(
    ("metric", "gain", "said"),
    [
        ("accuracy", BETTER, "a is better than b: +3.1 (1.0 to 5.0) accuracy."),
        ("accuracy", WORSE, "b is better than a: +3.1 (1.0 to 5.0) accuracy."),
        (ERROR, WORSE, "a is better than b: its error is lower by 0.031 (0.01 to 0.05)."),
        (ERROR, BETTER, "b is better than a: its error is lower by 0.031 (0.01 to 0.05)."),
    ],
)
def test_the_better_of_two_is_named_first(metric, gain, said):
    assert compare(metric, "a", "b", gain) == said


def test_what_has_no_value_says_why():
    nothing = difference(math.nan, math.nan, math.nan)
    reason = "predictions are constant, or all labels equal"
    assert show_score("pearson", nothing) == f"none: {reason}"
    assert compare("pearson", "a", "b", nothing).endswith(f"of one of them {reason}.")
    assert pretraining_gain("pearson", "a", nothing).endswith(f"with it or without it, {reason}.")
