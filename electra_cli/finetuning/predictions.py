"""What a fine-tuned model said of each example, and what is right: one type per kind of task.

Plain arrays and lists. N examples, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClassPredictions:
    """One class per example; gold [N] are indices into label_names, probabilities [N, C]."""

    label_names: tuple[str, ...]
    gold: Ints
    probabilities: Floats

    def __len__(self) -> int:
        return len(self.gold)

    @cached_property
    def predicted(self) -> Ints:
        """[N] the most probable class; the first of equals."""
        predicted: Ints = self.probabilities.argmax(axis=1)
        return predicted


@dataclass(frozen=True)
class MultiLabelPredictions:
    """Any number of classes per example; gold [N, C] of 0 and 1, probabilities [N, C]."""

    label_names: tuple[str, ...]
    gold: Ints
    probabilities: Floats

    def __len__(self) -> int:
        return len(self.gold)

    @cached_property
    def predicted(self) -> Ints:
        """[N, C] 1 where the class is at least as probable as not."""
        return (self.probabilities >= 0.5).astype(np.int64)


@dataclass(frozen=True)
class RegressionPredictions:
    """One number per example, in the units of the labels; gold [N], predicted [N]."""

    gold: Floats
    predicted: Floats

    def __len__(self) -> int:
        return len(self.gold)


@dataclass(frozen=True)
class TagPredictions:
    """One tag per word, as in B-PER; a sentence has as many predicted tags as gold ones."""

    gold: Sequence[Sequence[str]]
    predicted: Sequence[Sequence[str]]

    def __post_init__(self) -> None:
        assert list(map(len, self.gold)) == list(map(len, self.predicted))

    def __len__(self) -> int:
        return len(self.gold)


@dataclass(frozen=True)
class AnswerPredictions:
    """One answer per question.

    gold: all accepted answers of a question; an empty list for one without an answer.
    predicted: the best text other than none. null_scores: how much better no answer scores than
    that text, and -inf where a task always has an answer. So no answer is given above 0.
    """

    ids: Sequence[str]
    gold: Sequence[Sequence[str]]
    predicted: Sequence[str]
    null_scores: Sequence[float]

    def __len__(self) -> int:
        return len(self.ids)


Predictions = (
    ClassPredictions
    | MultiLabelPredictions
    | RegressionPredictions
    | TagPredictions
    | AnswerPredictions
)
