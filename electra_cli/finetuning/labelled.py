"""Labelled files -> a task with its labels, the examples of each split, and notes on them."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from electra_cli.errors import DataError
from electra_cli.finetuning import glue
from electra_cli.finetuning.columns import find_columns
from electra_cli.finetuning.examples import Example, count_classes, count_repeats, hold_out
from electra_cli.finetuning.rows import Table, read_table
from electra_cli.finetuning.settings import FinetuneConfig
from electra_cli.finetuning.tasks.registry import build_task
from electra_cli.finetuning.tasks.tag import Tag
from electra_cli.finetuning.tasks.task import Task

TRAIN, VALIDATION, TEST = "train", "validation", "test"


@dataclass
class LabelledData:
    """Everything that is the same for all encoders and seeds."""

    task: Task
    splits: dict[str, list[Example]]  # train first
    notes: dict[str, int] = field(default_factory=dict)  # what a reader of the scores should know
    warnings: list[tuple[str, str]] = field(default_factory=list)  # (problem, hint)

    @property
    def scored(self) -> list[str]:
        """The splits that are predicted."""
        return [name for name in self.splits if name != TRAIN]

    def sha256(self) -> str:
        """Of all examples, in order."""
        digest = hashlib.sha256()
        for name, examples in self.splits.items():
            for example in examples:
                digest.update(repr((name, example.content, example.target)).encode())
        return digest.hexdigest()


def load_labelled(config: FinetuneConfig) -> LabelledData:
    """Read what the settings name. Raises DataError for all that cannot be learned from."""
    if config.task.startswith("glue/"):
        task, splits, notes = glue.load_glue(config)
        return finish(task, splits, config, notes)
    if config.train is None:
        raise DataError("there is nothing to learn from", hint="name a file: --train FILE")
    table = read_table(config.train, config.subset)
    columns = find_columns(table, config)
    task = build_task(columns.task, config)
    splits = {TRAIN: [task.example(r, columns, n) for n, r in enumerate(table.rows)]}
    for name, source in ((VALIDATION, config.validation), (TEST, config.test)):
        if source is None:
            continue
        other = read_table(source, config.subset, name)
        _check_columns(other, [columns.text, columns.pair])
        if columns.label not in other.columns and name == VALIDATION:
            raise DataError(
                f"{other.name}: no column {columns.label}, so nothing can be scored",
                hint=f"its columns are: {', '.join(other.columns)}",
            )
        splits[name] = [task.example(r, columns, n) for n, r in enumerate(other.rows)]
    return finish(task, splits, config, {})


def _check_columns(table: Table, columns: Iterable[str | None]) -> None:
    for column in columns:
        if column is not None and column not in table.columns:
            raise DataError(
                f"{table.name}: no column {column}, which the training file has",
                hint=f"its columns are: {', '.join(table.columns)}",
            )


def finish(
    task: Task,
    splits: dict[str, list[Example]],
    config: FinetuneConfig,
    notes: Mapping[str, int],
) -> LabelledData:
    """Check labels, drop what cannot be learned from, hold examples out, add counts to `notes`."""
    notes = dict(notes)
    train = splits[TRAIN]
    _check_labels(TRAIN, train)
    kept = [example for example in train if example.text or example.pair]
    notes["train examples without text, left out"] = len(train) - len(kept)
    if task.name == "qa":
        found = [e for e in kept if not e.target.texts or e.target.starts[0] >= 0]
        notes["train answers not found in their context, left out"] = len(kept) - len(found)
        if kept and not found:
            raise DataError(
                f"{kept[0].where}: no answer stands in its context", hint="check answer_start"
            )
        kept = found
    if not kept:
        raise DataError("no training example has a text", hint="check the column of the text")
    splits = {**splits, TRAIN: kept}
    task.learn_labels(_with_labels(splits))
    if VALIDATION not in splits:
        training, held = hold_out(kept, config.validation_fraction, _stratum)
        if not held or not training:
            raise DataError(
                _why_none_is_held_out(kept),
                hint="name a file to score on: --validation FILE, or choose a larger share: "
                "--set finetune.validation_fraction=SHARE, at most 0.5",
            )
        splits = {TRAIN: training, VALIDATION: held, **_without(splits, TRAIN)}
    for name in _without(splits, TRAIN):
        labelled = sum(example.target is not None for example in splits[name])
        if labelled:
            _check_labels(name, splits[name])
    data = LabelledData(task, splits, notes)
    _compare(data)
    if config.class_weights == "balanced":
        task.weigh(splits[TRAIN])
    notes |= count_repeats({n: list(e) for n, e in splits.items()})
    data.notes = {name: count for name, count in notes.items() if count}
    for name, count in data.notes.items():
        if "left out" in name or "also in train" in name or "different labels" in name:
            data.warnings.append((f"{name}: {count:,}", "look at them before you trust the scores"))
    return data


def _stratum(example: Example) -> str:
    return example.target if isinstance(example.target, str) else ""


def _why_none_is_held_out(examples: Sequence[Example]) -> str:
    """Groups are too large, or classes too small, or there are few examples in all."""
    groups = Counter(example.held_with for example in examples)
    classes = Counter(map(_stratum, examples))
    if min(groups.values()) > 1:
        return (
            f"no group is small enough to be held out: the smallest of {len(groups)} has "
            f"{min(groups.values())} of {len(examples)} training examples"
        )
    if len(classes) > 1:
        return (
            f"no class has enough training examples to hold some out: the largest of "
            f"{len(classes)} has {max(classes.values())}"
        )
    return f"{len(examples)} training examples are too few to hold some out"


def _without(splits: dict[str, list[Example]], name: str) -> dict[str, list[Example]]:
    return {each: examples for each, examples in splits.items() if each != name}


def _with_labels(splits: dict[str, list[Example]]) -> dict[str, list[Example]]:
    return {n: [e for e in split if e.target is not None] for n, split in splits.items()}


def _check_labels(name: str, examples: Sequence[Example]) -> None:
    """Raise DataError that names the first example without a label."""
    missing = [example for example in examples if example.target is None]
    if missing:
        raise DataError(
            f"{len(missing):,} of {len(examples):,} examples of {name} have no label, the first: "
            f"{missing[0].where}",
            hint="remove them, or write their labels",
        )


def _compare(data: LabelledData) -> None:
    """Warn of what cannot be learned, scored or told apart."""
    if isinstance(data.task, Tag):
        _compare_tags(data)
    elif data.task.name == "qa":
        _compare_ids(data)
    elif data.task.name in ("classify", "multilabel"):
        _compare_classes(data)


def _compare_classes(data: LabelledData) -> None:
    """Warn of classes that cannot be both learned and scored."""
    counts = {name: count_classes(split) for name, split in data.splits.items()}
    alone = [name for name, count in counts[TRAIN].items() if count == 1]
    if alone:
        data.warnings.append(
            (
                f"{_listed(alone)} with a single training example: too few to learn",
                "collect more of them, merge them with another class, or leave them out",
            )
        )
    for split in data.scored:
        unseen = sorted(counts[split].keys() - counts[TRAIN].keys())
        if unseen:
            rows = sum(counts[split][name] for name in unseen)
            data.warnings.append(
                (
                    f"{_listed(unseen)} in {split}, never in train: {rows:,} examples are wrong "
                    "in any case",
                    "check the spelling of the labels, or add training examples",
                )
            )
        absent = sorted(counts[TRAIN].keys() - counts[split].keys())
        if absent and counts[split]:
            data.warnings.append(
                (f"{_listed(absent)} in train, never in {split}: not scored", "score on more text")
            )


def _compare_ids(data: LabelledData) -> None:
    """Warn of questions that share an id, of which SQuAD's file of answers can hold one."""
    for name in data.scored:
        repeated = len(data.splits[name]) - len({example.id for example in data.splits[name]})
        if repeated:
            data.warnings.append(
                (
                    f"{repeated:,} questions of {name} have the id of an earlier one",
                    f"predictions-{name}.json has one answer per id; predictions-{name}.csv all",
                )
            )


def _compare_tags(data: LabelledData) -> None:
    tags = {n: {t for e in split for t in e.target or ()} for n, split in data.splits.items()}
    for split in data.scored:
        if unseen := sorted(tags[split] - tags[TRAIN]):
            data.warnings.append(
                (
                    f"{_listed(unseen, 'tag')} in {split}, never in train: always wrong",
                    "check the spelling of the tags, or add training examples",
                )
            )


def _listed(names: Sequence[str], kind: str = "class") -> str:
    """ "class A", "classes A, B and 3 more"."""
    plural = {"class": "classes", "tag": "tags"}[kind]
    shown = ", ".join(names[:5])
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{kind if len(names) == 1 else plural} {shown}{more}"
