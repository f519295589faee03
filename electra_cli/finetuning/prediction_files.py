"""Every prediction as a file: a table, a CoNLL file for tags, SQuAD's JSON for answers."""

import csv
import io
import json
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
    write_csv(path, columns, complete)
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
    """(columns, rows): id, text, label where there is one, prediction, and how sure it is."""
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
            names = predictions.label_names
            return ["prediction", *names], [
                [names[best], *(f"{p:.6g}" for p in row)]
                for best, row in zip(predictions.predicted, predictions.probabilities, strict=True)
            ]
        case MultiLabelPredictions():
            names = predictions.label_names
            return ["prediction", *names], [
                [
                    "|".join(n for n, is_on in zip(names, chosen, strict=True) if is_on),
                    *(f"{p:.6g}" for p in row),
                ]
                for chosen, row in zip(
                    predictions.predicted, predictions.probabilities, strict=True
                )
            ]
        case RegressionPredictions():
            return ["prediction"], [[f"{value:.6g}"] for value in predictions.predicted]
        case TagPredictions():
            return ["prediction"], [[" ".join(tags)] for tags in predictions.predicted]
        case AnswerPredictions():
            return ["prediction", "best_text", "null_score"], [
                [answer, best, f"{score:.6g}"]
                for answer, best, score in zip(
                    given_answers(predictions),
                    predictions.predicted,
                    predictions.null_scores,
                    strict=True,
                )
            ]


def _conll_lines(examples: Sequence[Example], predictions: TagPredictions) -> Iterator[str]:
    """Word, gold tag, predicted tag; an empty line after a sentence: what conlleval reads."""
    tagged = zip(examples, predictions.gold, predictions.predicted, strict=True)
    for example, gold, predicted in tagged:
        for columns in zip(example.words, gold, predicted, strict=True):
            yield " ".join(columns)
        yield ""


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table with a header; atomic."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_bytes_atomically(path, text.getvalue().encode())


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_bytes_atomically(path, json.dumps(content, indent=1, ensure_ascii=False).encode())
