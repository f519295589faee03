"""An example of labelled data, and splits of them: held out, duplicated, shared.

Pure: no files, no tokenizer.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from electra_cli.finetuning.results import LABEL_SEPARATOR


@dataclass(frozen=True)
class Example:
    """What is read, and what is right: `target` is None where there is no label.

    classify: a name. multilabel: names. regress: a number. tag: a tag per word. qa: Answers.
    """

    id: str
    text: str
    pair: str | None = None
    words: tuple[str, ...] = ()  # of a sentence to tag; `text` joins them
    target: Any = None
    group: str | None = None
    where: str = ""

    @property
    def content(self) -> tuple[str, str]:
        """What makes two examples duplicates."""
        return self.text, self.pair or ""

    @property
    def held_with(self) -> str:
        """Equal where examples have to stand on one side of a split."""
        return self.group or "\x1f".join(self.content)


@dataclass(frozen=True)
class Answers:
    """Accepted answers of a question, with where they begin in the context; none: no answer."""

    texts: tuple[str, ...]
    starts: tuple[int, ...]


def show_target(example: Example) -> str | None:
    """What is right, as a cell of a table; None where that is not known."""
    target = example.target
    if target is None:
        return None
    if isinstance(target, Answers):
        return LABEL_SEPARATOR.join(target.texts)
    if isinstance(target, tuple):  # tags, or labels
        return (" " if example.words else LABEL_SEPARATOR).join(target)
    return str(target)


def hold_out(
    examples: Sequence[Example], fraction: float, stratum_of: Callable[[Example], str]
) -> tuple[list[Example], list[Example]]:
    """(training, held-out) examples, in their order; a share of each stratum is held out.

    Which ones depends on their content alone. Equal texts, and examples of one group, stay
    together, in the stratum of the first of them: the group goes where its hash sends it. One that
    is too large for what is left to hold out is learned from.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for index, example in enumerate(examples):
        groups[example.held_with].append(index)
    strata: dict[str, list[tuple[str, list[int]]]] = defaultdict(list)
    for key, members in groups.items():
        order = hashlib.sha256(key.encode()).hexdigest()
        strata[stratum_of(examples[members[0]])].append((order, members))
    held: set[int] = set()
    for ordered in strata.values():
        wanted = fraction * sum(len(members) for _, members in ordered)
        taken = 0
        for _, members in sorted(ordered):
            if taken + len(members) / 2 <= wanted:  # so a stratum of one example trains
                held.update(members)
                taken += len(members)
    training = [example for index, example in enumerate(examples) if index not in held]
    return training, [examples[index] for index in sorted(held)]


def count_repeats(splits: dict[str, Sequence[Example]]) -> dict[str, int]:
    """What a reader of the scores should know: by name, only what is not 0."""
    counts: dict[str, int] = {}
    contents = {name: [example.content for example in split] for name, split in splits.items()}
    for name, found in contents.items():
        counts[f"duplicates within {name}"] = len(found) - len(set(found))
    train = set(contents["train"])
    for name, found in contents.items():
        if name != "train":
            counts[f"{name} texts that are also in train"] = sum(each in train for each in found)
    labels: dict[tuple[str, str], set[str]] = defaultdict(set)
    for example in splits["train"]:
        labels[example.content].add(repr(example.target))
    counts["train texts with different labels"] = sum(len(each) > 1 for each in labels.values())
    return {name: count for name, count in counts.items() if count}


def count_classes(examples: Sequence[Example]) -> Counter[str]:
    """How many examples have each label, of classify or multilabel."""
    targets = [example.target for example in examples]
    return Counter(
        name for each in targets for name in ((each,) if isinstance(each, str) else each or ())
    )
