"""report.json, errors.csv, and the words of the page."""

import csv
import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from made_up_results import NAMES, made_up_results

from electra_cli.finetuning.predictions import (
    AnswerPredictions,
    MultiLabelPredictions,
    RegressionPredictions,
    TagPredictions,
)
from electra_cli.finetuning.report import write_report
from electra_cli.finetuning.results import Examples, Judged, Results, Tuned
from electra_cli.finetuning.scores import default_metrics, score


def written(folder, results: Results) -> tuple[dict, str]:
    write_report(folder, results)
    return json.loads((folder / "report.json").read_text()), (folder / "report.html").read_text()


def test_every_score_stands_beside_its_controls_and_what_pretraining_gave(tmp_path):
    results = made_up_results(("electra", 0.85, 0.6))
    report, page = written(tmp_path, results)
    test = report["splits"]["test"]
    encoder = test["encoders"]["electra"]
    by_seed = [
        score(p, ["accuracy"])["accuracy"] for p in results.judged[0].encoder.predictions["test"]
    ]
    accuracy = encoder["scores"]["accuracy"]
    assert accuracy["value"] == pytest.approx(np.mean(by_seed))
    assert encoder["by_seed"]["accuracy"] == pytest.approx(by_seed)
    assert accuracy["low"] < accuracy["value"] < accuracy["high"]
    assert list(test["controls"]) == ["majority class", "TF-IDF + logistic regression"]
    gain = encoder["gains"]["random weights"]["accuracy"]
    random = encoder["random_weights"]["scores"]["accuracy"]["value"]
    assert gain["value"] == pytest.approx(accuracy["value"] - random)
    in_words = f"+{100 * gain['value']:.1f} ({100 * gain['low']:.1f} to {100 * gain['high']:.1f})"
    assert f"Pre-training gave electra {in_words} accuracy against random weights." in page


def test_the_data_are_told_classes_shared_texts_notes(tmp_path):
    results = made_up_results(("electra", 0.8, 0.6))
    report, page = written(tmp_path, results)
    assert report["classes"]["NUM"]["train"] == results.train.labels.count("NUM")
    shared = {split: each["shared_with_train"]["count"] for split, each in report["splits"].items()}
    known = set(results.train.texts)
    of_test = sum(texts in known for texts in results.splits["test"].texts)
    assert shared == {"validation": 0, "test": of_test}
    assert of_test > 0
    assert f"{of_test} examples of test are also in train" in page
    assert report["notes"] == {"train examples cut to 128 tokens": 12}


def test_two_encoders_are_compared_in_words(tmp_path):
    report, page = written(
        tmp_path, made_up_results(("a", 0.85, 0.6), ("b", 0.85, 0.6), ("c", 0.5, 0.5))
    )
    differences = {
        (d["of"], d["minus"]): d["scores"]["accuracy"]
        for d in report["splits"]["test"]["differences"]
    }
    assert differences["a", "b"]["value"] == 0
    assert differences["a", "c"]["low"] > 0
    assert "a and b are not distinguishable with 300 examples and 3 seeds: +0.0 (" in page
    assert "a is better than c: +" in page
    assert "nothing that can be told with 300 examples and 3 seeds" in page  # c's pre-training


def test_failed_seeds_are_named_and_stay_in_the_mean(tmp_path):
    results = made_up_results(("electra", 0.85, 0.6))
    (judged,) = results.judged
    seeds = list(judged.encoder.predictions["test"])
    seeds[1] = replace(seeds[1], probabilities=np.tile([0.1, 0.8, 0.1], (300, 1)))
    predictions = {**judged.encoder.predictions, "test": tuple(seeds)}
    failing = replace(judged, encoder=replace(judged.encoder, predictions=predictions))
    report, page = written(tmp_path, replace(results, judged=(failing,)))
    encoder = report["splits"]["test"]["encoders"]["electra"]
    assert encoder["failed_seeds"] == {"1": "predicts DESC for every example"}
    assert encoder["scores"]["accuracy"]["value"] == pytest.approx(
        np.mean(encoder["by_seed"]["accuracy"])
    )
    assert "electra: 1 of 3 failed, and counted in the mean: seed 1 predicts DESC" in page


def test_all_mistakes_are_in_a_table_the_most_confident_first(tmp_path):
    results = made_up_results(("electra", 0.8, 0.6))
    report, _ = written(tmp_path, results)
    with (tmp_path / "errors-test.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    mistakes = report["splits"]["test"]["encoders"]["electra"]["mistakes"]
    assert len(rows) == mistakes["count"] > len(mistakes["first"])
    sure = [float(row["probability"]) for row in rows]
    assert sure == sorted(sure, reverse=True)
    assert [row["id"] for row in rows[:20]] == [each["id"] for each in mistakes["first"]]
    assert all(row["label"] != row["prediction"] for row in rows)


def test_one_seed_says_that_its_interval_is_of_the_examples_alone(tmp_path):
    _, page = written(tmp_path, made_up_results(("electra", 0.8, 0.6), seeds=(0,)))
    assert "over the examples alone" in page


OTHER_TASKS = {
    "multilabel": MultiLabelPredictions(
        ("a", "b"), np.array([[1, 0], [0, 1]] * 4), np.array([[0.8, 0.4], [0.6, 0.7]] * 4)
    ),
    "regress": RegressionPredictions(np.arange(8.0), np.arange(8.0) + [0.5, -0.5] * 4),
    "tag": TagPredictions(
        [["B-NP", "I-NP", "O"]] * 8, [["B-NP", "O", "O"], ["B-NP", "I-NP", "O"]] * 4
    ),
    "qa": AnswerPredictions(
        list("abcdefgh"), [["cat"], []] * 4, ["cat", "dog"] * 4, [-1.0, 1.0] * 4
    ),
}
LABELS = {"multilabel": "a|b", "regress": "1.5", "tag": "B-NP I-NP O", "qa": "cat"}


@pytest.mark.parametrize("task", OTHER_TASKS)
def test_every_kind_of_task_has_a_report_and_values_that_are_none_are_null(task, tmp_path):
    predictions = OTHER_TASKS[task]
    texts = (("the", "cat", "sat"),) if task == "tag" else (("the cat sat",),)
    examples = Examples(tuple("abcdefgh"), texts * 8, (LABELS[task],) * 8)
    encoder = Tuned("<b>encoder</b>", (0, 1), {"test": (predictions, predictions)})
    results = Results(
        task, task, default_metrics(predictions), examples, {"test": examples}, (Judged(encoder),)
    )
    report, page = written(tmp_path, results)
    assert "<b>encoder" not in page
    found = report["splits"]["test"]["encoders"]["<b>encoder</b>"]["scores"]
    assert found[results.metrics[0]]["value"] >= 0.5
    if task == "regress":
        assert (
            report["splits"]["test"]["controls"]["mean of the labels"]["pearson"]["value"] is None
        )
        assert "none: predictions are constant" in page


def test_the_page_loads_nothing_and_is_well_formed(tmp_path):
    _, page = written(tmp_path, made_up_results(("electra", 0.8, 0.6)))
    opened: list[str] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list) -> None:
            assert not {"src", "href"} & {name for name, _ in attributes}
            if tag not in ("meta", "line", "circle", "polyline"):
                opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

    Tags().feed(page.replace("/>", ">"))
    assert opened == []
    assert "default-src 'none'" in page
    assert all(name in page for name in NAMES)
