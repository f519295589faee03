"""Controls: what they predict, worked by hand or by scikit-learn."""

import numpy as np
import pytest
from made_up_results import NAMES, examples_of

from electra_cli.finetuning.controls import control_predictions
from electra_cli.finetuning.examples import Example, show_target
from electra_cli.finetuning.predictions import (
    AnswerPredictions,
    ClassPredictions,
    MultiLabelPredictions,
    RegressionPredictions,
    TagPredictions,
)
from electra_cli.finetuning.results import Examples
from electra_cli.finetuning.scores import score


def examples(*rows: tuple[str, str]) -> Examples:
    texts, labels = zip(*rows, strict=True)
    return Examples(tuple(map(str, range(len(rows)))), tuple((text,) for text in texts), labels)


def test_the_majority_class_has_the_shares_of_the_training_labels():
    train = examples(("a", "x"), ("b", "y"), ("c", "y"), ("d", "y"))
    like = ClassPredictions(("x", "y"), np.array([0, 1]), np.zeros((2, 2)))
    found = control_predictions(train, examples(("a", "x"), ("e", "y")), like)
    assert found["majority class"].probabilities.tolist() == [[0.25, 0.75]] * 2
    assert found["majority class"].gold is like.gold


def test_words_that_tell_the_class_are_found_by_tf_idf_and_only_these():
    gold = np.arange(200) % 3
    like = ClassPredictions(NAMES, gold, np.zeros((200, 3)))
    words = control_predictions(examples_of(gold), examples_of(gold, 1000), like)
    found = score(words["TF-IDF + logistic regression"], ["accuracy"])["accuracy"]
    assert 0.5 < found < 0.8  # half of the examples say it, of the others a third are guessed
    assert words["TF-IDF + logistic regression"].probabilities.sum(axis=1) == pytest.approx(1)


def test_a_pair_of_texts_is_two_sets_of_words():
    rows = [(("same", "x" if at % 2 else "y"), "10"[at % 2]) for at in range(40)]
    pairs = Examples(
        tuple(map(str, range(40))), tuple(texts for texts, _ in rows), tuple(y for _, y in rows)
    )
    like = ClassPredictions(("0", "1"), np.array([int(y) for _, y in rows]), np.zeros((40, 2)))
    found = control_predictions(pairs, pairs, like)["TF-IDF + logistic regression"]
    assert score(found, ["accuracy"]) == {"accuracy": 1}


def test_several_labels_of_an_example_are_learned_apart():
    train = examples(*[("cat dog", "c|d"), ("cat", "c"), ("dog", "d"), ("cow", "")] * 5)
    gold = np.array([[1, 1], [1, 0], [0, 1], [0, 0]] * 5)
    like = MultiLabelPredictions(("c", "d"), gold, np.zeros((20, 2)))
    found = control_predictions(train, train, like)
    assert score(found["TF-IDF + logistic regression"], ["exact_match"]) == {"exact_match": 1}
    assert found["majority of each class"].probabilities.tolist() == [[0.5, 0.5]] * 20


def test_labels_are_written_as_the_controls_read_them():
    assert show_target(Example("0", "cat dog", target=("c d", "e"))) == "c d|e"
    assert show_target(Example("0", "a b", words=("a", "b"), target=("O", "B-X"))) == "O B-X"
    assert show_target(Example("0", "a", target=())) == ""
    assert show_target(Example("0", "a")) is None


def test_a_number_is_compared_with_the_mean_and_with_a_regression_on_words():
    train = examples(*[("good", "4.0"), ("bad", "1.0")] * 10)
    like = RegressionPredictions(np.array([4.0, 1.0] * 10), np.zeros(20))
    found = control_predictions(train, train, like)
    assert found["mean of the labels"].predicted.tolist() == [2.5] * 20
    assert score(found["TF-IDF + ridge regression"], ["pearson"])["pearson"] > 0.99


def test_tags_are_compared_with_the_most_frequent_one_of_all_and_of_each_word():
    train = Examples(("0", "1"), (("the", "cat", "sat"), ("the", "sat")), ("B-NP I-NP O", "B-NP O"))
    split = Examples(("0",), (("the", "dog", "sat"),), ("B-NP I-NP O",))
    like = TagPredictions([["B-NP", "I-NP", "O"]], [["O", "O", "O"]])
    found = control_predictions(train, split, like)
    assert found["most frequent tag"].predicted == [["B-NP"] * 3]
    assert found["each word's most frequent tag"].predicted == [["B-NP", "B-NP", "O"]]


def test_questions_that_may_have_no_answer_are_compared_with_never_giving_one():
    like = AnswerPredictions(["a", "b"], [["cat"], []], ["cat", "dog"], [-1.0, -1.0])
    found = control_predictions(examples(("a", "")), examples(("a", ""), ("b", "")), like)
    assert score(found["never an answer"], ["f1"]) == {"f1": 0.5}
    always = AnswerPredictions(["a"], [["cat"]], ["cat"], [-1.0])
    assert control_predictions(examples(("a", "")), examples(("a", "")), always) == {}


def test_a_class_that_all_or_no_training_examples_have_is_no_reason_to_fail():
    train = examples(("a", "x"), ("b", "x"))
    like = ClassPredictions(("x", "y"), np.array([0, 1]), np.zeros((2, 2)))
    found = control_predictions(train, examples(("a", "x"), ("b", "y")), like)
    assert all(each.predicted.tolist() == [0, 0] for each in found.values())


def test_empty_texts_are_no_reason_to_fail():
    train = examples(("", "x"), (" ", "y"))
    like = ClassPredictions(("x", "y"), np.array([0, 1]), np.zeros((2, 2)))
    assert len(control_predictions(train, train, like)) == 2
