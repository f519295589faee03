"""Extractive question answering: where in a context the answer begins and ends.

Hugging Face's head, two logits per token, so that every pipeline opens the result; a question
without an answer points at [CLS]. The authors' head also conditions the end on the start.
"""

# Shapes: T tokens of a batch, B windows, L the longest, n tokens of a window.

import heapq
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from electra_cli.batch import LabelledBatch
from electra_cli.errors import DataError
from electra_cli.finetuning.columns import Columns
from electra_cli.finetuning.examples import Answers, Example
from electra_cli.finetuning.inputs import InputBuilder, Window
from electra_cli.finetuning.predictions import AnswerPredictions
from electra_cli.finetuning.rows import Row
from electra_cli.finetuning.tasks.task import Floats, Task, name_of

# google-research/electra, qa_metrics.py:110-166.
_BEST_PLACES = 20
_LONGEST_ANSWER = 30  # tokens


class Answer(Task):
    """SQuAD, with or without questions that have no answer."""

    name = "qa"
    kind = "span"
    epochs = 2.0
    max_seq_length = 512
    has_head_dropout = False

    def __init__(self, stride: int = 128, has_unanswerable: bool = False) -> None:
        self._stride = stride
        self.has_unanswerable = has_unanswerable  # whether a training question has no answer

    def example(self, row: Row, columns: Columns, number: int) -> Example:
        """A question and its context, kept as they are: answers count their characters."""
        texts: list[str] = []
        for column in (columns.text, columns.pair or "context"):
            text = row.values.get(column)
            if not isinstance(text, str):
                raise DataError(
                    f"{row.where}: {column} is {str(text)[:40]!r}, not a text",
                    hint="a question has the texts question and context",
                )
            texts.append(text)
        return Example(
            id=name_of(row, columns, number),
            text=texts[0],
            pair=texts[1],
            target=self.read_target(row, columns),
            group=texts[1],  # the questions of one context stay together
            where=row.where,
        )

    def target_of(self, value: Any, row: Row) -> Answers:
        """SQuAD's list of answers, or datasets' two lists; starts are put right where they can be.

        A start is -1 where the text does not stand in the context.
        """
        try:
            if isinstance(value, dict):
                pairs = list(zip(value["text"], value["answer_start"], strict=True))
            else:
                pairs = [(each["text"], each["answer_start"]) for each in value]
            pairs = [(str(text), int(start)) for text, start in pairs]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{row.where}: answers in an unknown form: {type(error).__name__} {error}",
                hint='answers are [{"text": ..., "answer_start": ...}]',
            ) from None
        context = row.values.get("context") or ""
        starts = [s if context.startswith(t, s) and s >= 0 else context.find(t) for t, s in pairs]
        if row.values.get("is_impossible"):
            pairs, starts = [], []
        return Answers(tuple(text for text, _ in pairs), tuple(starts))

    def learn_labels(self, splits: Mapping[str, Sequence[Example]]) -> None:
        """Whether there are questions without an answer."""
        self.has_unanswerable = any(not e.target.texts for e in splits["train"])

    def settings(self) -> dict[str, Any]:
        """How contexts are read, and whether a question may have no answer."""
        return {"doc_stride": self._stride, "has_unanswerable": self.has_unanswerable}

    def windows(self, examples: Sequence[Example], builder: InputBuilder) -> list[Window]:
        """Windows over each context."""
        questions = [example.text for example in examples]
        contexts = [example.pair or "" for example in examples]
        return list(builder.questions(questions, contexts, self._stride))

    def targets(self, window: Window, example: Example) -> NDArray[Any]:
        """[1, 2] tokens of start and end; (0, 0) where the window lacks the whole answer."""
        found = (0, 0)
        if example.target.texts and example.target.starts[0] >= 0:
            text = example.target.texts[0]
            # No token covers a blank around it.
            begin = example.target.starts[0] + len(text) - len(text.lstrip())
            end = begin + len(text.strip())
            first = [t for t, (a, b) in enumerate(window.spans) if a <= begin < b]
            last = [t for t, (a, b) in enumerate(window.spans) if a < end <= b]
            if first and last:
                found = (first[0], last[-1])
        return np.array([found])

    def losses(self, logits: Tensor, batch: LabelledBatch) -> Tensor:
        """The mean cross entropy of start and end, over the tokens of each window [B]."""
        lengths = batch.cu_seqlens.diff()
        first = batch.cu_seqlens[:-1].long()
        place = torch.arange(batch.max_length, device=logits.device)
        is_real = place < lengths[:, None]
        rows = (first[:, None] + place).clamp(max=len(logits) - 1)
        padded = logits[rows].masked_fill(~is_real[..., None], float("-inf"))  # [B, L, 2]
        start, end = padded.unbind(2)
        targets = batch.targets
        return 0.5 * (
            functional.cross_entropy(start, targets[:, 0], reduction="none")
            + functional.cross_entropy(end, targets[:, 1], reduction="none")
        )

    def predictions(
        self, examples: Sequence[Example], windows: Sequence[Window], outputs: Sequence[Floats]
    ) -> AnswerPredictions:
        """The best text over all windows, and how much better no answer scores."""
        best: list[tuple[float, str]] = [(-np.inf, "")] * len(examples)
        null = [np.inf] * len(examples)
        for window, logits in zip(windows, outputs, strict=True):
            index = window.example
            null[index] = min(null[index], float(logits[0].sum()))
            found = _best_span(window, logits)
            if found is not None and found[0] > best[index][0]:
                value, begin, end = found
                best[index] = (value, (examples[index].pair or "")[begin:end])
        scores = [
            (n - value if np.isfinite(value) else np.inf) if self.has_unanswerable else -np.inf
            for n, (value, _) in zip(null, best, strict=True)
        ]
        gold = [list(e.target.texts) if e.target else [] for e in examples]
        return AnswerPredictions([e.id for e in examples], gold, [t for _, t in best], scores)


def _best_span(window: Window, logits: Floats) -> tuple[float, int, int] | None:
    """(score, first character, last character + 1) in the context; None if it has no token."""
    inside = [t for t, (begin, end) in enumerate(window.spans) if end > begin]
    starts = heapq.nlargest(_BEST_PLACES, inside, key=lambda t: logits[t, 0])
    ends = heapq.nlargest(_BEST_PLACES, inside, key=lambda t: logits[t, 1])
    spans = [
        (float(logits[a, 0] + logits[b, 1]), window.spans[a][0], window.spans[b][1])
        for a in starts
        for b in ends
        if a <= b < a + _LONGEST_ANSWER
    ]
    return max(spans, default=None)
