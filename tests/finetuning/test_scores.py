"""Metrics against scikit-learn, scipy and numbers worked by hand."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from electra_cli.finetuning.answers import exact_match, given_answers, token_f1
from electra_cli.finetuning.predictions import (
    AnswerPredictions,
    ClassPredictions,
    MultiLabelPredictions,
    RegressionPredictions,
    TagPredictions,
)
from electra_cli.finetuning.scores import measure_of, score


def classes(gold, predicted, count=3) -> ClassPredictions:
    names = tuple(f"label {i}" for i in range(count))
    return ClassPredictions(names, np.array(gold), np.eye(count)[np.array(predicted)])


def drawn(count: int, labels: int, seed: int):
    random = np.random.default_rng(seed)
    gold = random.integers(labels, size=count)
    return gold, np.where(random.random(count) < 0.6, gold, random.integers(labels, size=count))


@pytest.mark.parametrize("labels, seed", [(2, 0), (3, 1), (7, 2), (40, 3)])
def test_metrics_of_classes_are_those_of_scikit_learn(labels, seed):
    gold, predicted = drawn(60, labels, seed)
    found = score(classes(gold, predicted, labels), ["accuracy", "macro_f1", "matthews"])
    assert found == pytest.approx(
        {
            "accuracy": sklearn_metrics.accuracy_score(gold, predicted),
            "macro_f1": sklearn_metrics.f1_score(gold, predicted, average="macro"),
            "matthews": sklearn_metrics.matthews_corrcoef(gold, predicted),
        }
    )


def test_f1_of_two_classes_is_that_of_the_second():
    gold, predicted = drawn(50, 2, 4)
    found = score(classes(gold, predicted, 2), ["f1"])["f1"]
    assert found == pytest.approx(sklearn_metrics.f1_score(gold, predicted))


def test_weights_are_the_same_as_repeated_examples():
    gold, predicted = drawn(40, 3, 5)
    rows = np.random.default_rng(6).integers(40, size=(5, 40))
    weights = np.stack([np.bincount(row, minlength=40) for row in rows]).astype(float)
    whole = classes(gold, predicted)
    numbers = RegressionPredictions(gold.astype(float), predicted + np.arange(40) % 3)
    for name in ["accuracy", "macro_f1", "matthews"]:
        each = [score(classes(gold[row], predicted[row]), [name])[name] for row in rows]
        assert measure_of(whole, name)(weights) == pytest.approx(each)
    for name in ["pearson", "spearman", "mean_squared_error"]:
        each = [
            score(RegressionPredictions(numbers.gold[row], numbers.predicted[row]), [name])[name]
            for row in rows
        ]
        assert measure_of(numbers, name)(weights) == pytest.approx(each)


def test_metrics_of_several_labels_are_those_of_scikit_learn():
    random = np.random.default_rng(7)
    gold = (random.random((50, 4)) < 0.3).astype(int)
    probabilities = np.clip(gold * 0.4 + random.random((50, 4)) * 0.6, 0, 1)
    predicted = (probabilities >= 0.5).astype(int)
    found = score(
        MultiLabelPredictions(tuple("abcd"), gold, probabilities),
        ["micro_f1", "macro_f1", "exact_match"],
    )
    assert found == pytest.approx(
        {
            "micro_f1": sklearn_metrics.f1_score(gold, predicted, average="micro"),
            "macro_f1": sklearn_metrics.f1_score(gold, predicted, average="macro"),
            "exact_match": sklearn_metrics.accuracy_score(gold, predicted),
        }
    )


def test_correlations_are_those_of_scipy_and_none_for_a_constant():
    random = np.random.default_rng(8)
    gold = random.integers(6, size=80) / 1.0
    predicted = gold + random.normal(size=80).round(1)
    found = score(RegressionPredictions(gold, predicted), ["pearson", "spearman"])
    assert found["pearson"] == pytest.approx(stats.pearsonr(gold, predicted).statistic)
    assert found["spearman"] == pytest.approx(stats.spearmanr(gold, predicted).statistic)
    constant = score(RegressionPredictions(gold, np.full(80, 2.7)), ["pearson", "spearman"])
    assert np.isnan(list(constant.values())).all()


def test_a_constant_prediction_has_a_matthews_coefficient_of_0():
    assert score(classes([0, 1, 1], [1, 1, 1], 2), ["matthews"]) == {"matthews": 0}


def test_span_f1_and_the_accuracy_of_tags_by_hand():
    gold = ["B-NP I-NP O B-VP".split(), "B-NP O".split()]
    predicted = ["B-NP I-NP O B-NP".split(), "B-NP I-NP".split()]
    found = score(TagPredictions(gold, predicted), ["span_f1", "tag_accuracy"])
    # Right: 3 spans; predicted: 3; both: 1 (the first). Tags: 4 of 6.
    assert found == pytest.approx({"span_f1": 1 / 3, "tag_accuracy": 4 / 6})


def test_answers_are_compared_without_case_punctuation_and_articles():
    assert exact_match("The Norman Dukes!", ["norman dukes"]) == 1
    assert exact_match("", []) == 1
    assert exact_match("an answer", []) == 0
    assert token_f1("the dukes of Normandy", ["Normandy"]) == pytest.approx(2 / 4)
    assert token_f1("Normandy", ["a duke", "in Normandy"]) == pytest.approx(2 / 3)
    assert token_f1("", ["something"]) == 0


def answers(*rows: tuple[list[str], str, float]) -> AnswerPredictions:
    gold, predicted, null_scores = zip(*rows, strict=True)
    return AnswerPredictions([str(i) for i in range(len(rows))], gold, predicted, null_scores)


def test_no_answer_is_given_where_it_scores_higher():
    predictions = answers((["a b"], "a b", -3.0), ([], "wrong", 2.0), (["c"], "c d", 1.0))
    assert given_answers(predictions) == ["a b", "", ""]
    assert score(predictions, ["exact_match", "f1"]) == pytest.approx(
        {"exact_match": 2 / 3, "f1": 2 / 3}
    )
