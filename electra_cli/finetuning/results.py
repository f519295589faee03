"""What the judge is told of a fine-tuning: examples, predictions of every seed, the data's counts.

A *split* is "validation" or "test". Everything is in the order of the split's examples.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from electra_cli.finetuning.predictions import Predictions

# Between the labels of an example that has several, in files and on pages.
LABEL_SEPARATOR = "|"


@dataclass(frozen=True)
class Examples:
    """The examples of a file: ids and texts as read; a pair has two texts, a tagged one its words.

    labels: one per example as a reader writes it: tags with spaces between them, several labels
    with LABEL_SEPARATOR; None where the file has none.
    """

    ids: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    labels: tuple[str | None, ...]


@dataclass(frozen=True)
class Tuned:
    """One encoder, fine-tuned with each seed."""

    name: str
    seeds: tuple[int, ...]
    predictions: Mapping[str, tuple[Predictions, ...]]  # of each split, one per seed
    pretraining_flops: float | None = None


@dataclass(frozen=True)
class Judged:
    """An encoder, and the same with random weights, tuned with the same seeds."""

    encoder: Tuned
    random: Tuned | None = None


@dataclass(frozen=True)
class Results:
    """All that a report is made from.

    train: the training examples. splits: those that were predicted.
    notes: counts that only the reader of the data knows, as sentences' parts: "questions cut"
    -> 12. settings: what a reader needs to repeat it.
    """

    title: str
    task: str
    metrics: tuple[str, ...]
    train: Examples
    splits: Mapping[str, Examples]
    judged: tuple[Judged, ...]
    notes: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
