"""Tasks with one answer per text or pair: a class, several labels, or a number.

A text of several windows is learned from each of them, and answered by the mean of their outputs.
"""

# Shapes: N examples of a batch, C labels.

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from electra_cli.batch import LabelledBatch
from electra_cli.errors import DataError
from electra_cli.finetuning.columns import as_list, as_number
from electra_cli.finetuning.examples import Example, count_classes
from electra_cli.finetuning.inputs import Window
from electra_cli.finetuning.predictions import (
    ClassPredictions,
    MultiLabelPredictions,
    RegressionPredictions,
)
from electra_cli.finetuning.results import LABEL_SEPARATOR
from electra_cli.finetuning.rows import Row
from electra_cli.finetuning.tasks.task import Floats, Task


def mean_outputs(count: int, windows: Sequence[Window], outputs: Sequence[Floats]) -> Tensor:
    """Of each window [1, C] -> of each example [N, C]: the mean over its windows."""
    examples = torch.tensor([window.example for window in windows])
    of_windows = torch.from_numpy(np.concatenate(outputs)).double()
    sums = torch.zeros(count, of_windows.shape[1], dtype=torch.float64)
    sums.index_add_(0, examples, of_windows)
    return sums / examples.bincount(minlength=count)[:, None]


_WHOLE_NUMBER = re.compile(r"-?\d+\.0+")


class _Labels(Task):
    """One output per label."""

    kind = "sequence"
    class_weights: Tensor | None = None  # [C]

    def learn_labels(self, splits: Mapping[str, Sequence[Example]]) -> None:
        """All labels of all splits, in order of numbers or letters; known ones stay as they are."""
        found = {name for examples in splits.values() for name in count_classes(examples)}
        if len(found) < 2:
            raise DataError(
                f"all examples have the same label: {', '.join(found) or 'none'}",
                hint="there is nothing to learn; check the label column",
            )
        if self.label_names:
            return
        numbers = {name: as_number(name) for name in found}
        if all(number is not None for number in numbers.values()):
            self.label_names = tuple(sorted(found, key=lambda name: numbers[name] or 0.0))
        else:
            self.label_names = tuple(sorted(found))

    def weigh(self, examples: Sequence[Example]) -> None:
        """Weights n / (C n_c), so that every class counts alike in the sum of all losses."""
        counts = count_classes(examples)
        total, classes = sum(counts.values()), len(counts)
        weights = [total / (classes * counts[n]) if counts[n] else 0.0 for n in self.label_names]
        self.class_weights = torch.tensor(weights)


class Classify(_Labels):
    """One of C classes."""

    name = "classify"
    problem_type = "single_label_classification"

    def target_of(self, value: Any, row: Row) -> str:
        """The class's name."""
        if isinstance(value, list | dict):
            raise DataError(
                f"{row.where}: the label is a {type(value).__name__}",
                hint="several labels per example need --task multilabel",
            )
        text = str(value).strip()
        # A column of whole numbers with an empty cell holds 1.0; other texts are names: 007, 1_1.
        return text.partition(".")[0] if _WHOLE_NUMBER.fullmatch(text) else text

    def targets(self, window: Window, example: Example) -> NDArray[Any]:
        """[1] the class's number."""
        return np.array([self.label_names.index(example.target)])

    def losses(self, logits: Tensor, batch: LabelledBatch) -> Tensor:
        """Cross entropies [N]."""
        losses = functional.cross_entropy(logits, batch.targets, reduction="none")
        if self.class_weights is not None:
            losses = losses * self.class_weights.to(losses.device)[batch.targets]
        return losses

    def predictions(
        self, examples: Sequence[Example], windows: Sequence[Window], outputs: Sequence[Floats]
    ) -> ClassPredictions:
        """Probabilities of all classes; gold is -1 where there is no label."""
        logits = mean_outputs(len(examples), windows, outputs)
        index = {name: at for at, name in enumerate(self.label_names)}
        gold = np.array([index.get(example.target, -1) for example in examples])
        return ClassPredictions(self.label_names, gold, logits.softmax(1).numpy())


class MultiLabel(_Labels):
    """Any number of labels per example."""

    name = "multilabel"
    problem_type = "multi_label_classification"

    def __init__(self, separator: str = "|") -> None:
        self._separator = separator

    def read_target(self, row: Row, columns: Any) -> Any:
        """An empty cell says that no label holds; only a table without the column has none."""
        if columns.label is None or row.values.get(columns.label) is None:
            return None
        return self.target_of(row.values[columns.label], row)

    def target_of(self, value: Any, row: Row) -> tuple[str, ...]:
        """The names, each once."""
        names = as_list(value)
        if names is None:
            names = str(value).split(self._separator)
        unclear = next((name for name in names if LABEL_SEPARATOR in name), None)
        if unclear is not None:
            raise DataError(
                f"{row.where}: the label {unclear[:40]!r} has a {LABEL_SEPARATOR}, which stands "
                "between labels in predictions and reports",
                hint="write it without",
            )
        return tuple(dict.fromkeys(name.strip() for name in names if name.strip()))

    def targets(self, window: Window, example: Example) -> NDArray[Any]:
        """[1, C] of 0 and 1."""
        return np.array([[name in example.target for name in self.label_names]], dtype=np.float32)

    def losses(self, logits: Tensor, batch: LabelledBatch) -> Tensor:
        """Binary cross entropies, their mean over the labels [N]."""
        losses = functional.binary_cross_entropy_with_logits(
            logits, batch.targets, reduction="none"
        )
        if self.class_weights is not None:
            losses = losses * self.class_weights.to(losses.device)
        return losses.mean(1)

    def predictions(
        self, examples: Sequence[Example], windows: Sequence[Window], outputs: Sequence[Floats]
    ) -> MultiLabelPredictions:
        """A probability of each label."""
        logits = mean_outputs(len(examples), windows, outputs)
        gold = [[name in (e.target or ()) for name in self.label_names] for e in examples]
        return MultiLabelPredictions(
            self.label_names, np.array(gold, dtype=np.int64), logits.sigmoid().numpy()
        )


class Regress(Task):
    """A number per example, learned between 0 and 1."""

    name = "regress"
    kind = "sequence"
    problem_type = "regression"
    label_names = ("score",)

    def target_of(self, value: Any, row: Row) -> float:
        """The number."""
        number = as_number(value)
        if number is None or not np.isfinite(number):
            raise DataError(
                f"{row.where}: the label is {str(value)[:40]!r}, not a number",
                hint="correct it, or classify: --task classify",
            )
        return number

    def learn_labels(self, splits: Mapping[str, Sequence[Example]]) -> None:
        """The range of the training labels becomes 0 to 1.

        The authors divide by the maximum alone (classification_tasks.py:209-228), which is the
        same where the least label is 0, as in their STS-B.
        """
        values = [example.target for example in splits["train"]]
        self.shift, self.scale = min(values), max(values) - min(values)
        if self.scale == 0:
            raise DataError(
                f"all training examples have the label {self.shift:g}",
                hint="there is nothing to learn; check the label column",
            )

    def targets(self, window: Window, example: Example) -> NDArray[Any]:
        """[1, 1] the number on the scale that is learned."""
        return np.array([[(example.target - self.shift) / self.scale]], dtype=np.float32)

    def losses(self, logits: Tensor, batch: LabelledBatch) -> Tensor:
        """Squared errors [N]."""
        return (logits - batch.targets).square().squeeze(1)

    def predictions(
        self, examples: Sequence[Example], windows: Sequence[Window], outputs: Sequence[Floats]
    ) -> RegressionPredictions:
        """In the units of the labels, not clamped; gold is NaN where there is no label."""
        means = mean_outputs(len(examples), windows, outputs)
        found = means.squeeze(1).numpy() * self.scale + self.shift
        gold = [np.nan if e.target is None else e.target for e in examples]
        return RegressionPredictions(np.array(gold), found)
