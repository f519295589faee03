"""Tables of predictions as text: numbers, and labels that are called as columns are."""

import csv
import io
import json

import numpy as np
import pytest

from electra_cli.finetuning.examples import Example
from electra_cli.finetuning.prediction_files import csv_text, json_lines, prediction_table
from electra_cli.finetuning.predictions import (
    AnswerPredictions,
    ClassPredictions,
    MultiLabelPredictions,
    RegressionPredictions,
)

TEXTS = [Example("7", "a text"), Example("8", "another")]


@pytest.mark.parametrize("labels", [("id", "text"), ("prediction", "probability of text")])
@pytest.mark.parametrize("kind", [ClassPredictions, MultiLabelPredictions])
def test_a_label_never_takes_the_place_of_a_column(kind, labels):
    gold = np.zeros(2 if kind is ClassPredictions else (2, 2), dtype=np.int64)
    table = prediction_table(TEXTS, kind(labels, gold, np.array([[0.25, 0.75], [0.75, 0.25]])))
    row = json.loads(json_lines(*table).splitlines()[0])
    assert (row["id"], row["text"], row["prediction"]) == ("7", "a text", labels[1])
    assert row["probabilities"] == {labels[0]: 0.25, labels[1]: 0.75}
    (header, first, _) = csv.reader(io.StringIO(csv_text(*table)))
    assert header[3:] == [f"probability of {label}" for label in labels]
    assert first == ["7", "a text", labels[1], "0.25", "0.75"]


def test_numbers_are_numbers_and_what_is_not_finite_is_null():
    table = prediction_table(TEXTS, RegressionPredictions(np.zeros(2), np.array([0.5, 1 / 3])))
    assert [json.loads(line)["prediction"] for line in json_lines(*table).splitlines()] == [
        0.5,
        0.333333,
    ]
    answers = AnswerPredictions(["7", "8"], [[], []], ["a", "b"], [-np.inf, 0.5])
    lines = json_lines(*prediction_table(TEXTS, answers)).splitlines()
    assert [json.loads(line)["null_score"] for line in lines] == [None, 0.5]
    assert [json.loads(line)["prediction"] for line in lines] == ["a", ""]
