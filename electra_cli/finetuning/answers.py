"""Exact match and F1 of answers, as SQuAD's official script computes them.

Rules: lower case, without punctuation and articles; the best over the accepted answers; where a
question has no answer, both are 1 only for the empty answer (squad_official_eval.py).
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

from electra_cli.finetuning.predictions import AnswerPredictions, Floats

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def given_answers(predictions: AnswerPredictions) -> list[str]:
    """The answers; none ("") where no answer scores higher than the best text."""
    return [
        "" if null_score > 0 else text
        for text, null_score in zip(predictions.predicted, predictions.null_scores, strict=True)
    ]


def exact_match(answer: str, gold: Sequence[str]) -> float:
    """1 if the answer is one of the accepted ones, else 0."""
    return float(_normalized(answer) in [_normalized(text) for text in gold or [""]])


def token_f1(answer: str, gold: Sequence[str]) -> float:
    """F1 over the words, the best over the accepted answers."""
    return max(_f1(_normalized(answer).split(), _normalized(text).split()) for text in gold or [""])


def example_scores(predictions: AnswerPredictions) -> Floats:
    """[N, 2] exact match and F1 of each question."""
    answers = given_answers(predictions)
    pairs = zip(answers, predictions.gold, strict=True)
    return np.array([(exact_match(answer, gold), token_f1(answer, gold)) for answer, gold in pairs])


def _normalized(text: str) -> str:
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def _f1(answer: Sequence[str], gold: Sequence[str]) -> float:
    if not answer or not gold:
        return float(answer == gold)
    common = sum((Counter(answer) & Counter(gold)).values())
    return 2 * common / (len(answer) + len(gold))
