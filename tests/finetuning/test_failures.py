"""Failed seeds are named, whatever the task; others are not."""

import numpy as np
from made_up_results import classified

from electra_cli.finetuning.failures import failure_of
from electra_cli.finetuning.predictions import (
    AnswerPredictions,
    ClassPredictions,
    MultiLabelPredictions,
    RegressionPredictions,
    TagPredictions,
)

GOLD = np.array([0] * 60 + [1] * 20 + [2] * 20)
SHARES = np.array([0.6, 0.2, 0.2])
MAJORITY = ClassPredictions(("a", "b", "c"), GOLD, np.tile(SHARES, (100, 1)))


def of_classes(probabilities: np.ndarray) -> str | None:
    return failure_of(ClassPredictions(("a", "b", "c"), GOLD, probabilities), MAJORITY)


def test_one_class_for_every_example_is_a_failure():
    assert of_classes(np.tile([0.1, 0.8, 0.1], (100, 1))) == "predicts b for every example"


def test_the_loss_of_the_class_shares_is_a_failure():
    noise = np.random.default_rng(0).normal(size=(100, 3)) * 0.01
    probabilities = SHARES + noise - noise.mean(axis=1, keepdims=True)
    probabilities[-1] = [0.3, 0.3, 0.4]  # one is right and is not of the majority
    assert "is that of the class shares (0.950)" in str(of_classes(probabilities))


def test_less_than_the_majority_is_a_failure_and_more_is_none():
    assert of_classes(classified(GOLD, 0.4, 0).probabilities) == (
        f"its accuracy ({100 * accuracy(0.4):.1f}) is below the majority's (60.0)"
    )
    assert of_classes(classified(GOLD, 0.9, 0).probabilities) is None


def accuracy(share: float) -> float:
    found = classified(GOLD, share, 0)
    return float((found.predicted == GOLD).mean())


def test_other_tasks_fail_where_they_say_the_same_of_everything():
    numbers = RegressionPredictions(np.arange(5.0), np.full(5, 2.0) + 1e-4 * np.arange(5))
    assert failure_of(numbers, None) == "predicts the same number for every example"
    tags = TagPredictions([["O", "B-X"], ["O"]], [["O", "O"], ["O"]])
    assert failure_of(tags, None) == "predicts O for every word"
    several = MultiLabelPredictions(("a", "b"), np.eye(2, dtype=int), np.zeros((2, 2)))
    assert failure_of(several, None) == "predicts (none) for every example"
    answers = AnswerPredictions(["1", "2"], [["cat"], []], ["dog", "dog"], [1.0, 2.0])
    assert failure_of(answers, None) == "predicts (none) for every example"


def test_other_tasks_do_not_fail_where_they_differ():
    assert failure_of(RegressionPredictions(np.arange(5.0), np.arange(5.0) * 0.1), None) is None
    assert failure_of(TagPredictions([["O", "B-X"]], [["O", "B-X"]]), None) is None
