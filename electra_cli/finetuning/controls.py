"""Predictors that know nothing of language: what a score has to be compared with.

The majority (or the mean) of the training labels, and the words alone: TF-IDF with a linear model.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, assert_never

import numpy as np

from electra_cli.finetuning.predictions import (
    AnswerPredictions,
    ClassPredictions,
    Floats,
    MultiLabelPredictions,
    Predictions,
    RegressionPredictions,
    TagPredictions,
)
from electra_cli.finetuning.results import LABEL_SEPARATOR, Examples

# More examples would make the control slower than the fine-tuning of a small encoder.
MOST_EXAMPLES = 50_000
_WORD = r"\w+|[^\w\s]"  # or a sign


def control_predictions(
    train: Examples, split: Examples, like: Predictions
) -> dict[str, Predictions]:
    """What each control predicts for the split; `like` has its right answers."""
    train = _first(train, MOST_EXAMPLES)
    labels = [label or "" for label in train.labels]
    count = len(like)
    match like:
        case ClassPredictions(names):
            index = {name: at for at, name in enumerate(names)}
            gold = np.array([index[label] for label in labels])
            shares = np.bincount(gold, minlength=len(names)) / len(gold)
            words = _word_scores(train, split, np.eye(len(names))[gold])
            words /= np.maximum(words.sum(axis=1, keepdims=True), 1e-12)
            return {
                "majority class": replace(like, probabilities=np.tile(shares, (count, 1))),
                "TF-IDF + logistic regression": replace(like, probabilities=words),
            }
        case MultiLabelPredictions(names):
            sets = [set(label.split(LABEL_SEPARATOR)) for label in labels]
            member = np.array([[float(name in each) for name in names] for each in sets])
            shares = np.tile(member.mean(axis=0), (count, 1))
            words = _word_scores(train, split, member)
            return {
                "majority of each class": replace(like, probabilities=shares),
                "TF-IDF + logistic regression": replace(like, probabilities=words),
            }
        case RegressionPredictions():
            numbers = np.array([float(label) for label in labels])
            return {
                "mean of the labels": replace(like, predicted=np.full(count, numbers.mean())),
                "TF-IDF + ridge regression": replace(
                    like, predicted=_word_values(train, split, numbers)
                ),
            }
        case TagPredictions():
            return _tag_controls(train, split, like)
        case AnswerPredictions():
            if all(like.gold):
                return {}
            return {"never an answer": replace(like, null_scores=[np.inf] * count)}
        case _:
            assert_never(like)


def _first(examples: Examples, count: int) -> Examples:
    """A sample of so many examples, the same every time; all where there are no more."""
    if len(examples.ids) <= count:
        return examples
    rows = np.sort(np.random.default_rng(0).permutation(len(examples.ids))[:count])
    return Examples(
        tuple(examples.ids[row] for row in rows),
        tuple(examples.texts[row] for row in rows),
        tuple(examples.labels[row] for row in rows),
    )


def _tag_controls(train: Examples, split: Examples, like: TagPredictions) -> dict[str, Predictions]:
    """The most frequent tag of all, and of each word."""
    tags_of: dict[str, Counter[str]] = defaultdict(Counter)
    for words, label in zip(train.texts, train.labels, strict=True):
        for word, tag in zip(words, (label or "").split(" "), strict=True):
            tags_of[word][tag] += 1
    most = sum(tags_of.values(), Counter()).most_common(1)[0][0]
    best = {word: counts.most_common(1)[0][0] for word, counts in tags_of.items()}
    return {
        "most frequent tag": replace(like, predicted=[[most] * len(each) for each in like.gold]),
        "each word's most frequent tag": replace(
            like, predicted=[[best.get(word, most) for word in words] for words in split.texts]
        ),
    }


def _features(train: Examples, split: Examples) -> tuple[Any, Any]:
    """TF-IDF of words and pairs of words, of each text of an example apart."""
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    parts = []
    for place in range(len(train.texts[0])):
        counter = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=_WORD)
        known = counter.fit_transform([_not_empty(texts[place]) for texts in train.texts])
        parts.append((known, counter.transform([_not_empty(t[place]) for t in split.texts])))
    known, asked = zip(*parts, strict=True)
    return hstack(known).tocsr(), hstack(asked).tocsr()


def _not_empty(text: str) -> str:
    """The text, or a sign: a vectorizer refuses texts that are all empty."""
    return text if text.strip() else "-"


def _word_scores(train: Examples, split: Examples, member: Floats) -> Floats:
    """[N, C] a logistic regression's probability of each class against the others."""
    from sklearn.linear_model import LogisticRegression

    known, asked = _features(train, split)
    scores = np.empty((asked.shape[0], member.shape[1]))
    for column, is_member in enumerate(member.T):
        if is_member.min() == is_member.max():  # nothing to learn: the class is all or none
            scores[:, column] = is_member[0]
            continue
        # liblinear: on sparse features ten times as fast as the default solver.
        model = LogisticRegression(C=10, solver="liblinear").fit(known, is_member)
        scores[:, column] = model.predict_proba(asked)[:, 1]
    return scores


def _word_values(train: Examples, split: Examples, numbers: Sequence[float] | Floats) -> Floats:
    from sklearn.linear_model import Ridge

    known, asked = _features(train, split)
    values: Floats = Ridge(alpha=1.0, solver="sparse_cg").fit(known, numbers).predict(asked)
    return values
