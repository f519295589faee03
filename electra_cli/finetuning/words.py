"""Scores and differences as a reader is told them."""

import math
from collections.abc import Iterator, Mapping
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
    "mean_squared_error": "mean squared error",
    "span_f1": "span F1",
    "span_f1_strict": "strict span F1",
    "span_f1_google": "span F1, ELECTRA authors' rule",
    "tag_accuracy": "tag accuracy",
}
_MOST_EXAMPLES = 10_000_000  # more are not worth a word
_ERRORS = ("mean_squared_error",)  # in the labels' units, and less is better


def metric_title(metric: str) -> str:
    """The metric's name with its unit: shares are shown in percent, so 0.803 as 80.3."""
    return _TITLES[metric]


def show_score(metric: str, score: Estimate) -> str:
    """80.3 (76.8 to 83.7), or why there is no number."""
    if math.isnan(score.value):
        return "none: predictions are constant"
    value, low, high = (_shown(metric, each) for each in (score.value, score.low, score.high))
    return f"{value} ({low} to {high})"


def show_gain(metric: str, difference: Estimate) -> str:
    """+11.3 (9.8 to 12.9)."""
    if math.isnan(difference.value):
        return "none"
    low, high = (_shown(metric, each) for each in (difference.low, difference.high))
    return f"{_shown(metric, difference.value, sign='+')} ({low} to {high})"


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
        return f"{name} and {other} cannot be compared: one of them predicts a constant."
    if difference.differs_from_zero:
        is_better = (difference.value > 0) != (metric in _ERRORS)
        first, second = (name, other) if is_better else (other, name)
        size = show_gain(metric, difference if is_better else _negative(difference))
        size = size if metric not in _ERRORS else show_gain(metric, difference)
        return f"{first} is better than {second}: {size} {title}."
    return (
        f"{name} and {other} are not distinguishable with {_data(difference)}: "
        f"{show_gain(metric, difference)} {title}{_needed(difference)}."
    )


def pretraining_gain(metric: str, name: str, gain: Estimate) -> str:
    """What pre-training gave, in one sentence."""
    title, size = metric_title(metric), show_gain(metric, gain)
    if math.isnan(gain.value):
        return f"What pre-training gave {name} cannot be said: predictions are constant."
    if not gain.differs_from_zero:
        return (
            f"Pre-training gave {name} nothing that can be told with {_data(gain)}: "
            f"{size} {title} over random weights{_needed(gain)}."
        )
    if (gain.value > 0) != (metric in _ERRORS):
        return f"Pre-training gave {name} {size} {title} against random weights."
    return (
        f"Pre-training cost {name} {size} {title} against random weights. Its last layers may be "
        "in the way: compare with --set finetune.layers=1, or 2."
    )


def _shown(metric: str, value: float, sign: str = "") -> str:
    return f"{value:{sign}.4g}" if metric in _ERRORS else f"{100 * value:{sign}.1f}"


def _negative(difference: Estimate) -> Estimate:
    return Estimate(
        -difference.value,
        -difference.high,
        -difference.low,
        difference.num_examples,
        difference.num_seeds,
    )


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
