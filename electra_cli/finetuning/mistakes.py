"""The mistakes of an encoder's seeds together, the most confident first: where to look first.

Where the model is sure and wrong, often the label is what is wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, assert_never

import numpy as np

from electra_cli.finetuning.answers import given_answers, token_f1
from electra_cli.finetuning.predictions import (
    AnswerPredictions,
    ClassPredictions,
    MultiLabelPredictions,
    Predictions,
    RegressionPredictions,
    TagPredictions,
)
from electra_cli.finetuning.results import LABEL_SEPARATOR

# What `size` of a mistake is.
SIZE_NAMES: dict[type, str] = {
    ClassPredictions: "probability",
    MultiLabelPredictions: "largest error of a probability",
    RegressionPredictions: "error",
    TagPredictions: "wrong tags",
    AnswerPredictions: "F1 missing",
}
_NOTHING = "(none)"


class Answer(NamedTuple):
    """What was said of an example and what is right, as a reader writes it."""

    label: str
    prediction: str
    size: float  # how large a mistake is, by SIZE_NAMES
    is_wrong: bool


@dataclass(frozen=True)
class Mistake:
    """An example that the seeds get wrong together."""

    index: int
    answer: Answer
    seeds_wrong: int


def find_mistakes(seeds: Sequence[Predictions]) -> list[Mistake]:
    """The mistakes of the seeds' mean, the largest first."""
    of_seeds = [answers_of(each) for each in seeds]
    mistakes = [
        Mistake(index, answer, sum(each[index].is_wrong for each in of_seeds))
        for index, answer in enumerate(answers_of(_together(seeds)))
        if answer.is_wrong
    ]
    return sorted(mistakes, key=lambda each: (-each.answer.size, each.index))


def answers_of(predictions: Predictions) -> list[Answer]:
    """One answer per example."""
    match predictions:
        case ClassPredictions(names, gold, probabilities):
            sure = probabilities.max(axis=1)
            rows = zip(gold, predictions.predicted, sure, strict=True)
            return [Answer(names[a], names[b], float(p), bool(a != b)) for a, b, p in rows]
        case MultiLabelPredictions(names, gold, probabilities):
            sets = zip(gold, predictions.predicted, strict=True)
            written = [(_listed(names, a), _listed(names, b)) for a, b in sets]
            size = np.abs(probabilities - gold).max(axis=1)
            return [Answer(a, b, float(s), a != b) for (a, b), s in zip(written, size, strict=True)]
        case RegressionPredictions(gold, predicted):
            numbers = zip(gold, predicted, strict=True)
            return [Answer(f"{a:g}", f"{b:.4g}", float(abs(a - b)), True) for a, b in numbers]
        case TagPredictions():
            sentences = zip(predictions.gold, predictions.predicted, strict=True)
            return [
                Answer(" ".join(a), " ".join(b), wrong, wrong > 0)
                for a, b in sentences
                for wrong in [sum(x != y for x, y in zip(a, b, strict=True))]
            ]
        case AnswerPredictions():
            given = zip(predictions.gold, given_answers(predictions), strict=True)
            return [
                Answer(LABEL_SEPARATOR.join(a) or _NOTHING, b or _NOTHING, missing, missing > 0)
                for a, b in given
                for missing in [1 - token_f1(b, a)]
            ]
        case _:
            assert_never(predictions)


def _together(seeds: Sequence[Any]) -> Predictions:
    """The mean of probabilities or of numbers; the first seed's tags and answers."""
    first: Predictions = seeds[0]
    match first:
        case ClassPredictions() | MultiLabelPredictions():
            return replace(first, probabilities=np.mean([s.probabilities for s in seeds], axis=0))
        case RegressionPredictions():
            return replace(first, predicted=np.mean([s.predicted for s in seeds], axis=0))
    return first


def _listed(names: Sequence[str], members: Sequence[int]) -> str:
    is_in = zip(names, members, strict=True)
    return LABEL_SEPARATOR.join(name for name, member in is_in if member) or _NOTHING
