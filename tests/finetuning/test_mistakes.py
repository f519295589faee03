"""Mistakes of several seeds together, the largest first."""

import numpy as np

from electra_cli.finetuning.mistakes import find_mistakes
from electra_cli.finetuning.predictions import (
    AnswerPredictions,
    ClassPredictions,
    MultiLabelPredictions,
    RegressionPredictions,
    TagPredictions,
)


def listed(*seeds):
    return [
        (each.index, each.answer.label, each.answer.prediction, each.seeds_wrong)
        for each in find_mistakes(seeds)
    ]


def test_classes_are_wrong_by_the_mean_of_the_seeds_and_the_surest_comes_first():
    gold = np.array([0, 0, 1])
    first = ClassPredictions(("a", "b"), gold, np.array([[0.4, 0.6], [0.1, 0.9], [0.2, 0.8]]))
    second = ClassPredictions(("a", "b"), gold, np.array([[0.7, 0.3], [0.2, 0.8], [0.2, 0.8]]))
    assert listed(first) == [(1, "a", "b", 1), (0, "a", "b", 1)]
    assert listed(first, second) == [(1, "a", "b", 2)]


def test_sets_of_labels():
    gold = np.array([[1, 1], [0, 0], [1, 0]])
    said = MultiLabelPredictions(("a", "b"), gold, np.array([[0.9, 0.4], [0.9, 0.1], [0.9, 0.1]]))
    assert listed(said) == [(1, "(none)", "a", 1), (0, "a|b", "a", 1)]


def test_numbers_are_ranked_by_the_error_of_the_mean():
    gold = np.array([1.0, 2.0])
    seeds = [RegressionPredictions(gold, np.array([1.5, 2.0])), RegressionPredictions(gold, gold)]
    assert listed(*seeds) == [(0, "1", "1.25", 2), (1, "2", "2", 2)]


def test_sentences_are_ranked_by_their_wrong_tags():
    said = TagPredictions([["O", "B-X"], ["O"], ["B-X", "I-X"]], [["O", "O"], ["O"], ["O", "O"]])
    assert listed(said) == [(2, "B-X I-X", "O O", 1), (0, "O B-X", "O O", 1)]


def test_answers_are_ranked_by_the_f1_that_is_missing():
    said = AnswerPredictions(
        ["p", "q", "r"], [["x y"], [], ["c"]], ["x", "d", "c"], [-1.0, -1.0, -1.0]
    )
    assert listed(said) == [(1, "(none)", "d", 1), (0, "x y", "x", 1)]
