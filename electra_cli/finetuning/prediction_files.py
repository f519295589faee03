"""Every prediction as a file: a table, a CoNLL file for tags, SQuAD's JSON for answers."""

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from electra_cli.disk import write_bytes_atomically
from electra_cli.finetuning.answers import given_answers
from electra_cli.finetuning.examples import Example, show_target
from electra_cli.finetuning.predictions import (
    AnswerPredictions,
    ClassPredictions,
    MultiLabelPredictions,
    Predictions,
    RegressionPredictions,
    TagPredictions,
)
from electra_cli.finetuning.results import LABEL_SEPARATOR

_PROBABILITIES = "probabilities"  # of all labels, by name


def write_predictions(
    folder: Path,
    split: str,
    examples: Sequence[Example],
    seeds: Sequence[int],
    predictions: Sequence[Predictions],
) -> None:
    """The files of one split: the first seed's answers, and the answer of each further seed."""
    path = folder / f"predictions-{split}.csv"
    columns, rows = prediction_table(examples, predictions[0])
    others = [prediction_table(examples, each) for each in predictions[1:]]
    columns += [f"prediction of seed {seed}" for seed in seeds[1:]]
    at = columns.index("prediction")
    complete = [
        [*row, *(table[number][at] for _, table in others)] for number, row in enumerate(rows)
    ]
    write_bytes_atomically(path, csv_text(columns, complete).encode())
    first = predictions[0]
    if isinstance(first, TagPredictions):
        lines = _conll_lines(examples, first)
        write_bytes_atomically(
            folder / f"predictions-{split}.conll", "".join(f"{line}\n" for line in lines).encode()
        )
    if isinstance(first, AnswerPredictions):
        answers = dict(zip(first.ids, given_answers(first), strict=True))
        null_odds = dict(zip(first.ids, map(float, first.null_scores), strict=True))
        _write_json(folder / f"predictions-{split}.json", answers)
        if all(value > -1e30 for value in null_odds.values()):
            _write_json(folder / f"null_odds-{split}.json", null_odds)


def prediction_table(
    examples: Sequence[Example], predictions: Predictions
) -> tuple[list[str], list[list[Any]]]:
    """(columns, rows): id, text, label where there is one, prediction, and how sure it is.

    Probabilities are one cell, by label: a label may be called as a column is.
    """
    has_pair = any(example.pair is not None for example in examples)
    has_label = any(example.target is not None for example in examples)
    columns = [
        "id",
        "text",
        *(["text_pair"] if has_pair else []),
        *(["label"] if has_label else []),
    ]
    rows: list[list[Any]] = [
        [
            example.id,
            example.text,
            *([example.pair or ""] if has_pair else []),
            *([show_target(example) or ""] if has_label else []),
        ]
        for example in examples
    ]
    more, answers = _answers(predictions)
    return columns + more, [row + answer for row, answer in zip(rows, answers, strict=True)]


def _answers(predictions: Predictions) -> tuple[list[str], list[list[Any]]]:
    match predictions:
        case ClassPredictions():
            said = [predictions.label_names[best] for best in predictions.predicted]
            return ["prediction", _PROBABILITIES], _with_probabilities(said, predictions)
        case MultiLabelPredictions():
            names = predictions.label_names
            said = [
                LABEL_SEPARATOR.join(n for n, is_on in zip(names, chosen, strict=True) if is_on)
                for chosen in predictions.predicted
            ]
            return ["prediction", _PROBABILITIES], _with_probabilities(said, predictions)
        case RegressionPredictions():
            return ["prediction"], [[float(value)] for value in predictions.predicted]
        case TagPredictions():
            return ["prediction"], [[" ".join(tags)] for tags in predictions.predicted]
        case AnswerPredictions():
            answers = given_answers(predictions)
            found = zip(answers, predictions.predicted, predictions.null_scores, strict=True)
            return ["prediction", "best_text", "null_score"], [list(each) for each in found]


def _with_probabilities(
    said: Sequence[str], predictions: ClassPredictions | MultiLabelPredictions
) -> list[list[Any]]:
    return [
        [answer, dict(zip(predictions.label_names, map(float, row), strict=True))]
        for answer, row in zip(said, predictions.probabilities, strict=True)
    ]


def _conll_lines(examples: Sequence[Example], predictions: TagPredictions) -> Iterator[str]:
    """Word, gold tag, predicted tag; an empty line after a sentence: what conlleval reads."""
    tagged = zip(examples, predictions.gold, predictions.predicted, strict=True)
    for example, gold, predicted in tagged:
        for columns in zip(example.words, gold, predicted, strict=True):
            yield " ".join(columns)
        yield ""


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table with a header; probabilities have a column per label, called as the label.

    Where a label is called as another column, `probability of ` stands before all of them.
    """
    names, cells = list(columns), [[_csv_cell(value) for value in row] for row in rows]
    if _PROBABILITIES in columns:
        at = columns.index(_PROBABILITIES)
        labels = list(rows[0][at])
        others = [name for name in columns if name != _PROBABILITIES]
        prefix = "probability of " if {*labels} & {*others} else ""
        names[at : at + 1] = [f"{prefix}{label}" for label in labels]
        for row, whole in zip(rows, cells, strict=True):
            whole[at : at + 1] = map(_csv_cell, row[at].values())
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(cells)
    return text.getvalue()


def json_lines(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """An object per row; numbers are numbers, and null what is not finite."""
    objects = (_json_value(dict(zip(columns, row, strict=True))) for row in rows)
    return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in objects)


def _csv_cell(value: Any) -> Any:
    if isinstance(value, list):
        return " ".join(str(_csv_cell(each)) for each in value)
    return f"{value:.6g}" if isinstance(value, float) else value


def _json_value(value: Any) -> Any:
    match value:
        case dict():
            return {name: _json_value(each) for name, each in value.items()}
        case list():
            return [_json_value(each) for each in value]
        case float():
            return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_bytes_atomically(path, json.dumps(content, indent=1, ensure_ascii=False).encode())
