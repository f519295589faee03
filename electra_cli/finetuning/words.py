"""Scores and differences as a reader is told them."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from electra_cli.finetuning.intervals import Estimate

RANDOM_WEIGHTS = "random weights"

_TITLES = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "f1": "F1",
    "matthews": "Matthews correlation",
    "exact_match": "exact match",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "mean_squared_error": "mean squared error (lower is better)",
    "span_f1": "span F1",
    "span_f1_strict": "strict span F1",
    "tag_accuracy": "tag accuracy",
}
_MOST_EXAMPLES = 10_000_000  # more are not worth a word
_ERRORS = ("mean_squared_error",)  # in the labels' units, and lower is better
_NO_VALUE = "predictions are constant, or all labels equal"


def metric_title(metric: str) -> str:
    """The metric's name with its unit: shares are shown in percent, so 0.803 as 80.3."""
    return _TITLES[metric]


def show_score(metric: str, score: Estimate) -> str:
    """80.3 (76.8 to 83.7), or why there is no number."""
    if math.isnan(score.value):
        return f"none: {_NO_VALUE}"
    return _with_interval(metric, score)


def show_gain(metric: str, difference: Estimate) -> str:
    """+11.3 (9.8 to 12.9)."""
    return "none" if math.isnan(difference.value) else _with_interval(metric, difference, sign="+")


def show_value(metric: str, value: float) -> str:
    """80.3, as in a score; none for NaN."""
    return "none" if math.isnan(value) else _shown(metric, value)


def compared(judged: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Estimate]]]:
    """(name, scores by metric) of every encoder, the same with random weights, and the controls."""
    for name, encoder in judged["encoders"].items():
        yield name, encoder["scores"]
        if encoder["random_weights"] is not None:
            yield f"{name}, {RANDOM_WEIGHTS}", encoder["random_weights"]["scores"]
    yield from judged["controls"].items()


def count_seeds(judged: Mapping[str, Any]) -> str:
    """1 seed, 5 seeds."""
    return _counted(len(next(iter(judged["encoders"].values()))["seeds"]))


def findings(metric: str, judged: Mapping[str, Any]) -> Iterator[str]:
    """What a split of the report says of an encoder: what pre-training gave, and which is best."""
    for name, encoder in judged["encoders"].items():
        if RANDOM_WEIGHTS in encoder["gains"]:
            yield pretraining_gain(metric, name, encoder["gains"][RANDOM_WEIGHTS][metric])
    for each in judged["differences"]:
        yield compare(metric, each["of"], each["minus"], each["scores"][metric])


def failures(judged: Mapping[str, Any]) -> Iterator[str]:
    """The seeds that failed, of every encoder and of the same with random weights."""
    for name, encoder in judged["encoders"].items():
        seeds, twin = len(encoder["seeds"]), encoder["random_weights"]
        tuned = {name: encoder, f"{name}, {RANDOM_WEIGHTS}": twin}
        for title, each in tuned.items():
            failed = each["failed_seeds"] if each else {}
            reasons = "; ".join(f"seed {seed} {reason}" for seed, reason in failed.items())
            if failed:
                said = f"{title}: {len(failed)} of {seeds} failed, and counted in the mean"
                yield f"{said}: {reasons}."


def compare(metric: str, name: str, other: str, difference: Estimate) -> str:
    """Which of two is better and by how much, or that they cannot be told apart."""
    title = metric_title(metric)
    if math.isnan(difference.value):
        return f"{name} and {other} cannot be compared: of one of them {_NO_VALUE}."
    if not difference.differs_from_zero:
        return (
            f"{name} and {other} are not distinguishable with {_data(difference)}: "
            f"{show_gain(metric, difference)} {title}{_needed(difference)}."
        )
    first, second = (name, other) if _is_better(metric, difference) else (other, name)
    size = _with_interval(metric, _positive(difference))
    if metric in _ERRORS:
        return f"{first} is better than {second}: its error is lower by {size}."
    return f"{first} is better than {second}: +{size} {title}."


def pretraining_gain(metric: str, name: str, gain: Estimate) -> str:
    """What pre-training gave, in one sentence."""
    title = metric_title(metric)
    if math.isnan(gain.value):
        return f"What pre-training gave {name} cannot be said: with it or without it, {_NO_VALUE}."
    if not gain.differs_from_zero:
        return (
            f"Pre-training gave {name} nothing that can be told with {_data(gain)}: "
            f"{show_gain(metric, gain)} {title} against random weights{_needed(gain)}."
        )
    is_better, size = _is_better(metric, gain), _with_interval(metric, _positive(gain))
    if metric in _ERRORS:
        verb = "lowered" if is_better else "raised"
        said = f"Pre-training {verb} the error of {name} by {size} against random weights."
    elif is_better:
        said = f"Pre-training gave {name} +{size} {title} against random weights."
    else:
        said = f"Pre-training cost {name} {size} {title} against random weights."
    if is_better:
        return said
    return f"{said} Its last layers may be in the way: compare with --set finetune.layers=1, or 2."


def _is_better(metric: str, difference: Estimate) -> bool:
    """Whether the first of the two that are compared is."""
    return (difference.value > 0) != (metric in _ERRORS)


def _with_interval(metric: str, score: Estimate, sign: str = "") -> str:
    low, high = (_shown(metric, each) for each in (score.low, score.high))
    return f"{_shown(metric, score.value, sign)} ({low} to {high})"


def _shown(metric: str, value: float, sign: str = "") -> str:
    return f"{value:{sign}.4g}" if metric in _ERRORS else f"{100 * value:{sign}.1f}"


def _positive(difference: Estimate) -> Estimate:
    """The size of a difference."""
    if difference.value > 0:
        return difference
    low, high = -difference.high, -difference.low
    return replace(difference, value=-difference.value, low=low, high=high)


def _data(difference: Estimate) -> str:
    return f"{difference.num_examples:,} examples and {_counted(difference.num_seeds)}"


def _counted(seeds: int) -> str:
    return "1 seed" if seeds == 1 else f"{seeds} seeds"


def _needed(difference: Estimate) -> str:
    """What would tell them apart, if the difference is real."""
    ways = []
    if difference.needed_examples is not None and difference.needed_examples < _MOST_EXAMPLES:
        ways.append(f"about {float(f'{difference.needed_examples:.2g}'):,.0f} examples")
    if difference.needed_seeds is not None:
        ways.append(f"about {difference.needed_seeds:,} seeds")
    return f"; a difference of this size would take {' or '.join(ways)}" if ways else ""
