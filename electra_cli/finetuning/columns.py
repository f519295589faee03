"""Which task a table is for, and which columns hold what: named, or where names leave no doubt."""

import ast
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from electra_cli.errors import DataError
from electra_cli.finetuning.rows import Table
from electra_cli.finetuning.settings import FinetuneConfig

# Names that mean one thing wherever they are used; of each list, one column may be there.
_TEXT = ("text", "sentence", "sentence1")
_PAIR = ("text_pair", "text_b", "sentence2")
_LABEL = ("label", "labels", "target", "score")
_WORDS, _TAGS = ("tokens", "words"), ("tags", "ner_tags", "pos_tags", "chunk_tags")
_ID = ("id", "idx")
_FEW_CELLS = 0.01  # of the labels; the separator may be part of a name here and there


@dataclass(frozen=True)
class Columns:
    """The columns of a task; `label` is None where a table to predict has none."""

    task: str
    text: str
    pair: str | None
    label: str | None
    id: str | None
    group: str | None

    def without_label(self) -> "Columns":
        """For texts to predict: what stands in the label's column does not matter."""
        return replace(self, label=None)


def find_columns(table: Table, config: FinetuneConfig, needs_label: bool = True) -> Columns:
    """What the settings name and the table's columns say. Raises DataError that lists them."""
    names = table.columns
    for option in ("text", "text_pair", "label", "id", "group"):
        named = getattr(config, option)
        if named is not None and named not in names:
            raise DataError(
                f"{table.name}: no column {named}",
                hint=f"--{option.replace('_', '-')} takes one of: {', '.join(names)}",
            )
    task = config.task
    is_squad = {"context", "question"} <= set(names)
    has_words = any(name in names for name in _WORDS)
    if task == "qa" or (task == "auto" and is_squad and config.text is None):
        if not is_squad:
            raise _not_found(table, "context and question", "question answering needs both")
        answers = "answers" if "answers" in names else None
        return Columns("qa", "question", "context", answers, _one(table, _ID), config.group)
    if task == "tag" or (task == "auto" and has_words and config.text is None):
        text = config.text or _require(table, _WORDS, "--text", "the words")
        label = config.label or _one(table, _TAGS)
        if label is None and needs_label:
            label = _require(table, _TAGS, "--label", "the tags")
        return Columns("tag", text, None, label, config.id or _one(table, _ID), config.group)
    text = config.text or _require(table, _TEXT, "--text", "the text")
    pair = config.text_pair or (None if config.text else _one(table, _PAIR))
    label = config.label or _one(table, _LABEL)
    if label is None and needs_label:
        label = _require(table, _LABEL, "--label", "the label")
    if task == "auto" and label is not None:
        task = _task_of(table, label, config.label_separator)
    return Columns(task, text, pair, label, config.id or _one(table, _ID), config.group)


def _one(table: Table, known: Sequence[str]) -> str | None:
    found = [name for name in known if name in table.columns]
    return found[0] if len(found) == 1 else None


def _require(table: Table, known: Sequence[str], option: str, what: str) -> str:
    """The only column of a known name. Raises DataError where there is none, or several."""
    column = _one(table, known)
    if column is None:
        raise _not_found(table, what, f"name it with {option}")
    return column


def _not_found(table: Table, what: str, hint: str) -> DataError:
    return DataError(
        f"{table.name}: it is not certain which column holds {what}",
        hint=f"{hint}; the columns are: {', '.join(table.columns)}",
    )


def _task_of(table: Table, column: str, separator: str) -> str:
    """classify, multilabel or regress, from the labels. Raises DataError where it is not certain.

    Whole numbers are classes if they count up from 0 or 1 without a gap.
    """
    values = [row.values.get(column) for row in table.rows]
    labels = [value for value in values if not is_missing(value)]
    if any(as_list(value) is not None for value in labels):
        return "multilabel"
    several = [value for value in labels if _has_parts(value, separator)]
    if len(several) > _FEW_CELLS * len(labels):
        raise DataError(
            f"{table.name}: column {column} holds {str(several[0])[:40]!r} and the like in "
            f"{len(several):,} of {len(labels):,} rows, which may be several labels or one class",
            hint="say which: --task multilabel or --task classify",
        )
    numbers = [as_number(value) for value in labels]
    if any(number is None for number in numbers):
        return "classify"
    if any(number is not None and number % 1 for number in numbers):
        return "regress"
    found = sorted({int(number) for number in numbers if number is not None})
    if found and found[0] in (0, 1) and found == list(range(found[0], found[0] + len(found))):
        return "classify"
    raise DataError(
        f"{table.name}: column {column} holds whole numbers, which may be classes or amounts",
        hint="say which: --task classify or --task regress",
    )


def _has_parts(value: Any, separator: str) -> bool:
    """Whether a cell reads as several labels."""
    return isinstance(value, str) and sum(map(bool, map(str.strip, value.split(separator)))) > 1


def is_missing(value: Any) -> bool:
    """Whether a cell is empty; of a table of numbers NaN says so."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


def as_number(value: Any) -> float | None:
    """The number that a cell holds; None if it holds something else."""
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def as_list(value: Any) -> list[str] | None:
    """A list, also as a text that spells one; None for anything else."""
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = ast.literal_eval(value.strip())  # as Python and JSON write lists of texts
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    if hasattr(value, "tolist"):
        value = value.tolist()
    return [str(each) for each in value] if isinstance(value, list) else None
