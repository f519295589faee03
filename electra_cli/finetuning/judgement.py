"""Results -> every number of the report: dicts whose keys are those of report.json."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from electra_cli.finetuning.calibration import calibration_of, fit_temperature
from electra_cli.finetuning.controls import control_predictions
from electra_cli.finetuning.failures import failure_of
from electra_cli.finetuning.intervals import Estimate, Resampled, estimate, resample
from electra_cli.finetuning.mistakes import SIZE_NAMES, find_mistakes
from electra_cli.finetuning.predictions import (
    ClassPredictions,
    MultiLabelPredictions,
    Predictions,
    TagPredictions,
)
from electra_cli.finetuning.results import LABEL_SEPARATOR, Examples, Judged, Results, Tuned
from electra_cli.finetuning.scores import counts_of_classes, counts_of_spans
from electra_cli.finetuning.words import RANDOM_WEIGHTS

_MOST_MISTAKES = 20
_MOST_SHARED = 5
# Where both are there, the temperature is fitted on the first and judged on the others too.
_FITTED_ON = "validation"

Scores = Mapping[str, Resampled]  # by metric


def judge(results: Results) -> dict[str, Any]:
    """All of the report."""
    return {
        "title": results.title,
        "task": results.task,
        "metrics": list(results.metrics),
        "num_training_examples": len(results.train.ids),
        "classes": _class_counts(results),
        "notes": dict(results.notes),
        "settings": dict(results.settings),
        "splits": {split: _judge_split(results, split) for split in results.splits},
    }


def _judge_split(results: Results, split: str) -> dict[str, Any]:
    examples = results.splits[split]
    some = results.judged[0].encoder.predictions[split][0]
    control = control_predictions(results.train, examples, some)
    controls = {name: _resample([each], results.metrics) for name, each in control.items()}
    constant = next(iter(control.values()), None)
    scores = {each.encoder.name: _of_tuned(each.encoder, split, results) for each in results.judged}
    return {
        "num_examples": len(examples.ids),
        "shared_with_train": _shared(results, split),
        "controls": {name: _estimates(each) for name, each in controls.items()},
        "encoders": {
            each.encoder.name: _judge_encoder(
                each, split, results, scores[each.encoder.name], controls, constant
            )
            for each in results.judged
        },
        "differences": [
            {"of": a, "minus": b, "scores": _estimates(_minus(scores[a], scores[b]))}
            for a, b in combinations(scores, 2)
        ],
    }


def _judge_encoder(
    judged: Judged,
    split: str,
    results: Results,
    scores: Scores,
    controls: Mapping[str, Scores],
    constant: Predictions | None,
) -> dict[str, Any]:
    encoder, random = judged.encoder, judged.random
    against = dict(controls)
    if random is not None:
        against = {RANDOM_WEIGHTS: _of_tuned(random, split, results), **against}
    return {
        "seeds": list(encoder.seeds),
        "pretraining_flops": encoder.pretraining_flops,
        "scores": _estimates(scores),
        "by_seed": {name: each.values.tolist() for name, each in scores.items()},
        "failed_seeds": _failures(encoder, split, constant),
        "random_weights": None
        if random is None
        else {
            "scores": _estimates(against[RANDOM_WEIGHTS]),
            "failed_seeds": _failures(random, split, constant),
        },
        "gains": {name: _estimates(_minus(scores, other)) for name, other in against.items()},
        "per_class": _per_class(encoder.predictions[split]),
        "confusion": _confusion(encoder.predictions[split]),
        "calibration": _calibration(encoder, split),
        "mistakes": _mistakes(encoder.predictions[split], results.splits[split]),
    }


def _resample(seeds: Sequence[Predictions], metrics: Sequence[str]) -> Scores:
    return {name: resample(seeds, name) for name in metrics}


def _of_tuned(tuned: Tuned, split: str, results: Results) -> Scores:
    return _resample(tuned.predictions[split], results.metrics)


def _minus(scores: Scores, other: Scores) -> Scores:
    return {name: scores[name] - other[name] for name in scores}


def _estimates(scores: Scores) -> dict[str, Estimate]:
    return {name: estimate(each) for name, each in scores.items()}


def _failures(tuned: Tuned, split: str, constant: Predictions | None) -> dict[str, str]:
    """Seed -> why it failed."""
    of_split = zip(tuned.seeds, tuned.predictions[split], strict=True)
    found = ((seed, failure_of(predictions, constant)) for seed, predictions in of_split)
    return {str(seed): reason for seed, reason in found if reason is not None}


def _class_counts(results: Results) -> dict[str, dict[str, int]] | None:
    """Label -> how many examples of each split have it; None where labels are no classes."""
    first = next(iter(results.judged[0].encoder.predictions.values()))[0]
    if not isinstance(first, ClassPredictions | MultiLabelPredictions):
        return None
    splits = {"train": results.train, **results.splits}
    counts = {name: _count_labels(first, examples) for name, examples in splits.items()}
    return {
        label: {name: of_split[label] for name, of_split in counts.items()}
        for label in first.label_names
    }


def _count_labels(like: Predictions, examples: Examples) -> Counter[str]:
    labels = [label for label in examples.labels if label is not None]
    if isinstance(like, MultiLabelPredictions):
        labels = [name for label in labels for name in label.split(LABEL_SEPARATOR)]
    return Counter(labels)


def _shared(results: Results, split: str) -> dict[str, Any]:
    """Examples whose texts are in the training file too."""
    known, examples = set(results.train.texts), results.splits[split]
    is_shared = np.array([texts in known for texts in examples.texts])
    shown = np.flatnonzero(is_shared)[:_MOST_SHARED]
    return {
        "count": int(is_shared.sum()),
        "examples": [list(examples.texts[index]) for index in shown],
    }


def _per_class(seeds: Sequence[Predictions]) -> dict[str, dict[str, float]] | None:
    """Label (or type of span) -> its figures over all seeds together."""
    first = seeds[0]
    if isinstance(first, ClassPredictions | MultiLabelPredictions):
        names: Sequence[str] = first.label_names
        counts = [counts_of_classes(each) for each in seeds if isinstance(each, type(first))]
        summed = np.sum([each.sum(axis=0) for each in counts], axis=0)
    elif isinstance(first, TagPredictions):
        tagged = [each for each in seeds if isinstance(each, TagPredictions)]
        gold = [tags for each in tagged for tags in each.gold]
        predicted = [tags for each in tagged for tags in each.predicted]
        names, spans = counts_of_spans(TagPredictions(gold, predicted))
        summed = spans.sum(axis=0)
    else:
        return None
    return {
        name: {
            "precision": both / said if said else np.nan,
            "recall": both / right if right else np.nan,
            "f1": 2 * both / (right + said) if right + said else np.nan,
            "examples": right / len(seeds),
            "predicted": said / len(seeds),
        }
        for name, right, said, both in zip(names, *summed, strict=True)
    }


def _confusion(seeds: Sequence[Predictions]) -> list[list[float]] | None:
    """Rows: what is right; columns: what is predicted; the mean over the seeds."""
    from sklearn.metrics import confusion_matrix

    classes = [each for each in seeds if isinstance(each, ClassPredictions)]
    if not classes:
        return None
    labels = range(len(classes[0].label_names))
    summed = sum(confusion_matrix(each.gold, each.predicted, labels=labels) for each in classes)
    matrix: list[list[float]] = (np.asarray(summed) / len(seeds)).tolist()
    return matrix


def _calibration(tuned: Tuned, split: str) -> dict[str, Any] | None:
    """Of all seeds together, before and after one temperature."""
    classes = _pooled(tuned.predictions[split])
    if classes is None:
        return None
    fitted_on = _FITTED_ON if _FITTED_ON in tuned.predictions else split
    fitted = _pooled(tuned.predictions[fitted_on])
    assert fitted is not None
    temperature = fit_temperature(fitted)
    return {
        "temperature": temperature,
        "fitted_on": fitted_on,
        "before": calibration_of(classes),
        "after": calibration_of(classes, temperature),
    }


def _pooled(seeds: Sequence[Predictions]) -> ClassPredictions | None:
    classes = [each for each in seeds if isinstance(each, ClassPredictions)]
    if not classes:
        return None
    return ClassPredictions(
        classes[0].label_names,
        np.concatenate([each.gold for each in classes]),
        np.concatenate([each.probabilities for each in classes]),
    )


def _mistakes(seeds: Sequence[Predictions], examples: Examples) -> dict[str, Any]:
    found = find_mistakes(seeds)
    return {
        "count": len(found),
        "size_is": SIZE_NAMES[type(seeds[0])],
        "first": [
            {
                "id": examples.ids[each.index],
                "texts": list(examples.texts[each.index]),
                "label": each.answer.label,
                "prediction": each.answer.prediction,
                "size": each.answer.size,
                "seeds_wrong": each.seeds_wrong,
            }
            for each in found[:_MOST_MISTAKES]
        ],
    }
