"""Metrics of predictions, all of them for any weights of the examples.

A resample of the examples is a vector of weights (how often each was drawn), so one product of
matrices gives the counts of thousands of resamples: 100 times as fast as calling scikit-learn for
each. The tests compare every metric with scikit-learn and scipy.

Shapes: N examples, R vectors of weights, C classes (or types of spans).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, assert_never

import numpy as np

from electra_cli.finetuning.answers import example_scores
from electra_cli.finetuning.predictions import (
    AnswerPredictions,
    ClassPredictions,
    Floats,
    MultiLabelPredictions,
    Predictions,
    RegressionPredictions,
    TagPredictions,
)
from electra_cli.finetuning.spans import RULES, Rule, spans_of

# A metric of some predictions: weights [R, N] of the examples -> values [R].
Measure = Callable[[Floats], Floats]

# What GLUE reports of each task (metrics/glue of Hugging Face's evaluate).
GLUE_METRICS: dict[str, tuple[str, ...]] = {
    "cola": ("matthews", "accuracy"),
    "sst2": ("accuracy",),
    "mrpc": ("accuracy", "f1"),
    "stsb": ("pearson", "spearman"),
    "qqp": ("accuracy", "f1"),
    "mnli": ("accuracy",),
    "qnli": ("accuracy",),
    "rte": ("accuracy",),
    "wnli": ("accuracy",),
}


# What a metric can be, where that is not 0 to 1.
_RANGES = {
    "matthews": (-1.0, 1.0),
    "pearson": (-1.0, 1.0),
    "spearman": (-1.0, 1.0),
    "mean_squared_error": (0.0, np.inf),
}


def range_of(metric: str) -> tuple[float, float]:
    """The lowest and the highest value that a metric can have."""
    return _RANGES.get(metric, (0.0, 1.0))


def default_metrics(predictions: Predictions) -> tuple[str, ...]:
    """Metrics of this kind of predictions; the first is the headline."""
    match predictions:
        case ClassPredictions():
            binary = ("f1", "matthews") if len(predictions.label_names) == 2 else ()
            return ("accuracy", "macro_f1", *binary)
        case MultiLabelPredictions():
            return ("micro_f1", "macro_f1", "exact_match")
        case RegressionPredictions():
            return ("spearman", "pearson", "mean_squared_error")
        case TagPredictions():
            has_spans = any(tag[:2] in ("B-", "I-") for tags in predictions.gold for tag in tags)
            return ("span_f1", "span_f1_strict", "tag_accuracy") if has_spans else ("tag_accuracy",)
        case AnswerPredictions():
            return ("f1", "exact_match")
        case _:
            assert_never(predictions)


def score(predictions: Predictions, metrics: Sequence[str]) -> dict[str, float]:
    """Each metric's value. NaN where there is none: no examples, or a correlation of a constant."""
    every = np.ones((1, len(predictions)))
    return {name: float(measure_of(predictions, name)(every)[0]) for name in metrics}


def measure_of(predictions: Predictions, metric: str) -> Measure:
    """The metric as a function of the examples' weights; the counting is done once, here."""
    return _MEASURES[type(predictions)][metric](predictions)


def counts_of_classes(predictions: ClassPredictions | MultiLabelPredictions) -> Floats:
    """[N, 3, C] of 0 and 1: whether the class is right, is predicted, and both."""
    gold, predicted = predictions.gold, predictions.predicted
    if isinstance(predictions, ClassPredictions):
        each = np.eye(len(predictions.label_names), dtype=np.int64)
        gold, predicted = each[gold], each[predicted]
    return np.stack([gold, predicted, gold * predicted], axis=1).astype(np.float64)


def counts_of_spans(predictions: TagPredictions, rule: Rule = RULES[0]) -> tuple[list[str], Floats]:
    """The types of spans [C], and how many each sentence has: right, predicted, both [N, 3, C]."""
    sentences = [
        (gold, predicted, gold & predicted)
        for gold, predicted in (
            (spans_of(gold, rule), spans_of(predicted, rule))
            for gold, predicted in zip(predictions.gold, predictions.predicted, strict=True)
        )
    ]
    types = sorted({kind for each in sentences for spans in each for *_, kind in spans})
    index = {kind: at for at, kind in enumerate(types)}
    counts = np.zeros((len(sentences), 3, len(types)))
    for row, each in enumerate(sentences):
        for column, spans in enumerate(each):
            for *_, kind in spans:
                counts[row, column, index[kind]] += 1
    return types, counts


def _counts_of_words(predictions: TagPredictions) -> Floats:
    """[N, 3, 1]: words, words, words with the right tag. Their F1 is the accuracy."""
    pairs = zip(predictions.gold, predictions.predicted, strict=True)
    right = [sum(a == b for a, b in zip(*pair, strict=True)) for pair in pairs]
    words = [len(tags) for tags in predictions.gold]
    return np.array([words, words, right], dtype=np.float64).T[:, :, None]


def _is_right(predictions: ClassPredictions | MultiLabelPredictions) -> Floats:
    """[N] 1 where the class, or the whole set of classes, is right."""
    equal = predictions.gold == predictions.predicted
    is_right: Floats = (equal if equal.ndim == 1 else equal.all(axis=1)).astype(np.float64)
    return is_right


def _mean(values: Floats, weights: Floats) -> Floats:
    return _ratio(weights @ values, weights.sum(axis=1))


def _of_counts(metric: Callable[[Floats], Floats], counts: Floats, weights: Floats) -> Floats:
    """A metric of the counts [R, 3, C] that the weights give."""
    return metric(np.tensordot(weights, counts, axes=1))


def _f1_of_each(counts: Floats) -> Floats:
    """[R, 3, C] -> [R, C]; 0 for a class that is neither there nor predicted."""
    gold, predicted, both = np.moveaxis(counts, 1, 0)
    f1: Floats = 2 * both / np.maximum(gold + predicted, 1)
    return f1


def _macro_f1(counts: Floats) -> Floats:
    """Mean over the classes that are there or predicted, as scikit-learn takes it."""
    is_there = counts[:, :2].sum(axis=1) > 0
    return _ratio(_f1_of_each(counts).sum(axis=1), is_there.sum(axis=1))


def _micro_f1(counts: Floats) -> Floats:
    """Of all classes together; 0 where there is nothing right and nothing predicted."""
    return _f1_of_each(counts.sum(axis=2, keepdims=True))[:, 0]


def _binary_f1(counts: Floats) -> Floats:
    """Of the second class."""
    return _f1_of_each(counts)[:, 1]


def _matthews(counts: Floats) -> Floats:
    """Gorodkin's coefficient for any number of classes; 0 where one side is constant."""
    gold, predicted, both = np.moveaxis(counts, 1, 0)
    n = gold.sum(axis=1)
    covariance = n * both.sum(axis=1) - (gold * predicted).sum(axis=1)
    spread = (n**2 - (gold**2).sum(axis=1)) * (n**2 - (predicted**2).sum(axis=1))
    coefficient: Floats = covariance / np.sqrt(np.where(spread > 0, spread, 1.0))
    return coefficient


def _pearson(x: Floats, y: Floats, weights: Floats) -> Floats:
    return _correlation(
        np.broadcast_to(x, weights.shape), np.broadcast_to(y, weights.shape), weights
    )


def _spearman(x: Floats, y: Floats, weights: Floats) -> Floats:
    return _correlation(_ranks(x, weights), _ranks(y, weights), weights)


def _ranks(values: Floats, weights: Floats) -> Floats:
    """[R, N] ranks within each resample; equal values share the mean of their ranks."""
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    sizes = np.add.reduceat(weights[:, order], starts, axis=1)
    return (np.cumsum(sizes, axis=1) - (sizes - 1) / 2)[:, group]


def _correlation(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Pearson's correlation of each row; NaN where x or y is constant."""
    x = x - _ratio((weights * x).sum(axis=1), weights.sum(axis=1))[:, None]
    y = y - _ratio((weights * y).sum(axis=1), weights.sum(axis=1))[:, None]
    spread = np.sqrt((weights * x**2).sum(axis=1) * (weights * y**2).sum(axis=1))
    tiny = 1e-12 * weights.sum(axis=1)
    return _ratio((weights * x * y).sum(axis=1), np.where(spread > tiny, spread, 0))


def _ratio(part: Floats, whole: Floats) -> Floats:
    """part / whole; NaN where the whole is 0."""
    return np.where(whole == 0, np.nan, part / np.where(whole == 0, 1, whole))


def _of_classes(metric: Callable[[Floats], Floats]) -> Callable[[Any], Measure]:
    return lambda predictions: partial(_of_counts, metric, counts_of_classes(predictions))


def _of_spans(rule: Rule) -> Callable[[Any], Measure]:
    return lambda predictions: partial(_of_counts, _micro_f1, counts_of_spans(predictions, rule)[1])


def _of_answers(column: int) -> Callable[[Any], Measure]:
    return lambda predictions: partial(_mean, example_scores(predictions)[:, column])


_MEASURES: dict[type, dict[str, Callable[[Any], Measure]]] = {
    ClassPredictions: {
        "accuracy": lambda predictions: partial(_mean, _is_right(predictions)),
        "macro_f1": _of_classes(_macro_f1),
        "f1": _of_classes(_binary_f1),
        "matthews": _of_classes(_matthews),
    },
    MultiLabelPredictions: {
        "micro_f1": _of_classes(_micro_f1),
        "macro_f1": _of_classes(_macro_f1),
        "exact_match": lambda predictions: partial(_mean, _is_right(predictions)),
    },
    RegressionPredictions: {
        "spearman": lambda each: partial(_spearman, each.gold, each.predicted),
        "pearson": lambda each: partial(_pearson, each.gold, each.predicted),
        "mean_squared_error": lambda each: partial(_mean, (each.gold - each.predicted) ** 2),
    },
    TagPredictions: {
        "span_f1": _of_spans("seqeval"),
        "span_f1_strict": _of_spans("strict"),
        "tag_accuracy": lambda predictions: partial(
            _of_counts, _micro_f1, _counts_of_words(predictions)
        ),
    },
    AnswerPredictions: {"exact_match": _of_answers(0), "f1": _of_answers(1)},
}
