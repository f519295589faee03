"""Exact match and F1 of answers, as SQuAD's official script computes them, and the threshold.

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


def given_answers(predictions: AnswerPredictions, threshold: float = 0.0) -> list[str]:
    """The answers; none ("") where no answer scores higher than the best text by more than this."""
    return [
        "" if null_score > threshold else text
        for text, null_score in zip(predictions.predicted, predictions.null_scores, strict=True)
    ]


def exact_match(answer: str, gold: Sequence[str]) -> float:
    """1 if the answer is one of the accepted ones, else 0."""
    return float(_normalized(answer) in [_normalized(text) for text in gold or [""]])


def token_f1(answer: str, gold: Sequence[str]) -> float:
    """F1 over the words, the best over the accepted answers."""
    return max(_f1(_normalized(answer).split(), _normalized(text).split()) for text in gold or [""])


def best_threshold(predictions: AnswerPredictions) -> float:
    """The threshold of given_answers with the highest F1 on these questions.

    Optimistic on the questions that it was chosen on: choose it on held-out ones.
    """
    null_scores = np.asarray(predictions.null_scores)
    as_text = [token_f1(t, g) for t, g in zip(predictions.predicted, predictions.gold, strict=True)]
    as_none = [token_f1("", g) for g in predictions.gold]
    order = np.argsort(null_scores, kind="stable")
    # With a threshold at the i-th score, the first i + 1 questions keep their texts.
    gains = np.cumsum((np.asarray(as_text) - np.asarray(as_none))[order])
    candidates = null_scores[order]
    is_last = np.append(candidates[1:] != candidates[:-1], True) & np.isfinite(candidates)
    if not is_last.any():
        return 0.0
    best = int(np.argmax(np.where(is_last, gains, -np.inf)))
    return float(candidates[best]) if gains[best] > 0 else float(candidates[0]) - 1.0


def example_scores(predictions: AnswerPredictions) -> Floats:
    """[N, 2] exact match and F1 of each question, with the threshold 0."""
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
