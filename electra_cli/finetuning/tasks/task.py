"""What a task is: how a row is read, what the model is asked, and what its answer means.

A further task is one class with these methods, and its line in registry.py.
"""

# Shapes: N slots of a batch, C outputs, n tokens of a window.

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from electra_cli.batch import LabelledBatch
from electra_cli.errors import DataError
from electra_cli.finetuning.columns import Columns, is_missing
from electra_cli.finetuning.examples import Example
from electra_cli.finetuning.inputs import InputBuilder, Window
from electra_cli.finetuning.predictions import Predictions
from electra_cli.finetuning.rows import Row
from electra_cli.model.heads import HeadKind

Floats = NDArray[np.float32]


class Task(ABC):
    """One kind of labels."""

    name: ClassVar[str]
    kind: ClassVar[HeadKind]
    problem_type: ClassVar[str | None] = None  # as transformers' configs name it
    epochs: float = 3.0  # the authors' (configure_finetuning.py:135-146)
    max_seq_length: int = 128
    has_head_dropout: ClassVar[bool] = True

    label_names: tuple[str, ...] = ()
    # The outputs times scale plus shift are in the units of the labels.
    scale: float = 1.0
    shift: float = 0.0

    @abstractmethod
    def target_of(self, value: Any, row: Row) -> Any:
        """A cell of the label column -> Example.target. Raises DataError that names the row."""

    @abstractmethod
    def learn_labels(self, splits: Mapping[str, Sequence[Example]]) -> None:
        """Set label_names, or the scale, from labelled examples."""

    @abstractmethod
    def targets(self, window: Window, example: Example) -> NDArray[Any]:
        """[slots, ...] what the loss takes for each slot of a window."""

    @abstractmethod
    def losses(self, logits: Tensor, batch: LabelledBatch) -> Tensor:
        """Logits [N, C], or of spans [T, 2] -> the loss of each slot [N]."""

    @abstractmethod
    def predictions(
        self, examples: Sequence[Example], windows: Sequence[Window], outputs: Sequence[Floats]
    ) -> Predictions:
        """What the outputs say of each example: of a window [slots, C], or of spans [n, 2]."""

    def example(self, row: Row, columns: Columns, number: int) -> Example:
        """Read a row. Raises DataError that names it."""
        text = _text(row, columns.text)
        pair = None if columns.pair is None else _text(row, columns.pair)
        return Example(
            id=name_of(row, columns, number),
            text=text,
            pair=pair,
            target=self.read_target(row, columns),
            group=group_of(row, columns),
            where=row.where,
        )

    def read_target(self, row: Row, columns: Columns) -> Any:
        """The target of a row; None where the table, or this cell, has none."""
        value = None if columns.label is None else row.values.get(columns.label)
        return None if is_missing(value) else self.target_of(value, row)

    def windows(self, examples: Sequence[Example], builder: InputBuilder) -> list[Window]:
        """The inputs of the model, in order of the examples."""
        texts = [example.text for example in examples]
        has_pairs = bool(examples) and examples[0].pair is not None
        pairs = [example.pair or "" for example in examples] if has_pairs else None
        return list(builder.texts(texts, pairs))

    def settings(self) -> dict[str, Any]:
        """What an exported model's config says besides its labels, so that it answers alike."""
        return {}

    def weigh(self, examples: Sequence[Example]) -> None:  # noqa: B027 - most tasks weigh nothing
        """Let rare classes count as much as others, from the training examples."""


def name_of(row: Row, columns: Columns, number: int) -> str:
    """The example's own id, or its number."""
    own = None if columns.id is None else row.values.get(columns.id)
    return str(number if own is None else own)


def group_of(row: Row, columns: Columns) -> str | None:
    """The example's group; None where it has none."""
    value = None if columns.group is None else row.values.get(columns.group)
    return None if is_missing(value) else str(value)


def _text(row: Row, column: str) -> str:
    value = row.values.get(column)
    if is_missing(value):
        return ""
    if not isinstance(value, str):
        raise DataError(
            f"{row.where}: column {column} holds {type(value).__name__}, not text",
            hint="choose columns of text with --text and --text-pair",
        )
    return value.strip()
