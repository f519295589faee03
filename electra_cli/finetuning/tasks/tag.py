"""One tag per word, read from the word's first token."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from electra_cli.batch import LabelledBatch
from electra_cli.errors import DataError
from electra_cli.finetuning.columns import Columns, as_list
from electra_cli.finetuning.examples import Example
from electra_cli.finetuning.inputs import InputBuilder, Window
from electra_cli.finetuning.predictions import TagPredictions
from electra_cli.finetuning.rows import Row
from electra_cli.finetuning.tasks.task import Floats, Task, group_of, name_of

OUTSIDE = "O"  # of a word that the tokenizer drops, too


class Tag(Task):
    """Tags as they are written: BIO, BIOES or plain ones, such as parts of speech."""

    name = "tag"
    kind = "token"
    has_head_dropout = False  # the authors have none here (tagging_tasks.py:201-212)

    def example(self, row: Row, columns: Columns, number: int) -> Example:
        """Words and their tags, as lists or as texts that spell lists."""
        words = as_list(row.values.get(columns.text))
        if words is None:
            raise DataError(
                f"{row.where}: column {columns.text} holds no list of words",
                hint='a sentence is {"tokens": ["A", "word"], "tags": ["O", "O"]}, or CoNLL lines',
            )
        target = self.read_target(row, columns)
        if target is not None and len(target) != len(words):
            raise DataError(
                f"{row.where}: {len(words)} words, {len(target)} tags",
                hint="every word needs one tag",
            )
        if any(len(tag.split()) != 1 for tag in target or ()):
            raise DataError(
                f"{row.where}: a tag is empty or has a blank in it", hint="write B-first_name"
            )
        return Example(
            id=name_of(row, columns, number),
            text=" ".join(words),
            words=tuple(words),
            target=target,
            group=group_of(row, columns),
            where=row.where,
        )

    def target_of(self, value: Any, row: Row) -> tuple[str, ...]:
        """The tags."""
        tags = as_list(value)
        if tags is None:
            raise DataError(
                f"{row.where}: the tags are no list", hint='tags are a list: ["O", "B-PER"]'
            )
        return tuple(tag.strip() for tag in tags)

    def learn_labels(self, splits: Mapping[str, Sequence[Example]]) -> None:
        """The tags of all splits, as the authors take them (tagging_tasks.py:92-107)."""
        found = {tag for split in splits.values() for e in split for tag in e.target or ()}
        if len(found) < 2:
            raise DataError(
                f"all words have the same tag: {', '.join(found) or 'none'}",
                hint="there is nothing to learn; check the tags",
            )
        self.label_names = tuple(sorted(found))

    def windows(self, examples: Sequence[Example], builder: InputBuilder) -> list[Window]:
        """Whole words; a long sentence has several windows."""
        return list(builder.sentences([example.words for example in examples]))

    def targets(self, window: Window, example: Example) -> NDArray[Any]:
        """[slots] the tags' numbers."""
        return np.array([self.label_names.index(example.target[word]) for word in window.words])

    def losses(self, logits: Tensor, batch: LabelledBatch) -> Tensor:
        """Cross entropies of the words [N]."""
        return functional.cross_entropy(logits, batch.targets, reduction="none")

    def predictions(
        self, examples: Sequence[Example], windows: Sequence[Window], outputs: Sequence[Floats]
    ) -> TagPredictions:
        """The most probable tag of each word; O for a word without tokens."""
        predicted = [[OUTSIDE] * len(example.words) for example in examples]
        for window, logits in zip(windows, outputs, strict=True):
            for word, best in zip(window.words, logits.argmax(1), strict=True):
                predicted[window.example][word] = self.label_names[best]
        gold = [list(e.target or [OUTSIDE] * len(e.words)) for e in examples]
        return TagPredictions(gold, predicted)
