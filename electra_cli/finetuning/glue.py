"""The official GLUE folders: their files, columns, label order and submissions.

Tab-separated without quoting; a negative column counts from the end of the row
(google-research/electra, classification_tasks.py:325-439).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from electra_cli.disk import expand_home
from electra_cli.errors import DataError
from electra_cli.finetuning.columns import Columns
from electra_cli.finetuning.examples import Example
from electra_cli.finetuning.predictions import (
    ClassPredictions,
    Predictions,
    RegressionPredictions,
)
from electra_cli.finetuning.rows import Row
from electra_cli.finetuning.settings import FinetuneConfig
from electra_cli.finetuning.tasks.registry import build_task
from electra_cli.finetuning.tasks.task import Task


@dataclass(frozen=True)
class GlueTask:
    """Where a task's columns are, and what becomes of its predictions."""

    texts: tuple[int, ...]
    test_texts: tuple[int, ...]
    label: int
    label_names: tuple[str, ...]  # none: a number is predicted
    submission: str
    has_header: bool = True
    epochs: float = 3.0
    both_orders: bool = False  # each training pair is read in both orders
    suffixes: tuple[str, ...] = ("",)  # of dev and test


_YES_NO = ("0", "1")
_ENTAILMENT = ("entailment", "not_entailment")
TASKS = {
    "cola": GlueTask((3,), (1,), 1, _YES_NO, "CoLA", has_header=False),
    "sst2": GlueTask((0,), (1,), 1, _YES_NO, "SST-2"),
    "mrpc": GlueTask((3, 4), (3, 4), 0, _YES_NO, "MRPC", both_orders=True),
    "stsb": GlueTask((-3, -2), (-2, -1), -1, (), "STS-B", epochs=10.0, both_orders=True),
    "qqp": GlueTask((3, 4), (1, 2), 5, _YES_NO, "QQP"),
    "mnli": GlueTask(
        (8, 9),
        (8, 9),
        -1,
        ("contradiction", "entailment", "neutral"),
        "MNLI-m",
        suffixes=("_matched", "_mismatched"),
    ),
    "qnli": GlueTask((1, 2), (1, 2), 3, _ENTAILMENT, "QNLI"),
    "rte": GlueTask((1, 2), (1, 2), 3, _ENTAILMENT, "RTE", epochs=10.0),
    "wnli": GlueTask((1, 2), (1, 2), 3, _YES_NO, "WNLI"),
}
_MISMATCHED = "_mismatched"
# Sentence pairs that a model of MNLI answers, in the folder beside MNLI's.
_DIAGNOSTIC = "_diagnostic"
_DIAGNOSTIC_FILE = Path("diagnostic", "diagnostic.tsv")


def task_of(name: str) -> tuple[str, GlueTask]:
    """glue/SST-2 or glue/sst2 -> its name and columns. Raises DataError with those there are."""
    short = name.removeprefix("glue/").lower().replace("-", "")
    if short not in TASKS:
        raise DataError(
            f"there is no GLUE task {name.removeprefix('glue/')}",
            hint=f"tasks: {', '.join(TASKS)}",
        )
    return short, TASKS[short]


def load_glue(
    config: FinetuneConfig,
) -> tuple[Task, dict[str, list[Example]], dict[str, int]]:
    """A task, the splits of its official folder, and the numbers of rows that are left out.

    Test sets have no labels there.
    """
    notes: dict[str, int] = {}
    short, glue = task_of(config.task)
    if config.data is None:
        raise DataError(
            f"{config.task} is read from its official folder", hint="name it: --data FOLDER"
        )
    folder = expand_home(config.data)
    task = build_task("classify" if glue.label_names else "regress", config)
    task.epochs = glue.epochs
    task.label_names = glue.label_names or task.label_names
    train = _read(folder / "train.tsv", glue, task, notes)
    if glue.both_orders:
        train += [_swapped(example) for example in train]
    splits = {"train": train}
    for suffix in glue.suffixes:
        name = _MISMATCHED if suffix == _MISMATCHED else ""
        splits[f"validation{name}"] = _read(folder / f"dev{suffix}.tsv", glue, task, notes)
        test = folder / f"test{suffix}.tsv"
        if test.is_file():
            splits[f"test{name}"] = _read(test, glue, task, notes, is_test=True)
    diagnostic = folder.resolve().parent / _DIAGNOSTIC_FILE
    if short == "mnli" and diagnostic.is_file():
        pairs = replace(glue, test_texts=(1, 2))
        splits[f"test{_DIAGNOSTIC}"] = _read(diagnostic, pairs, task, notes, is_test=True)
    return task, splits, notes


def _swapped(example: Example) -> Example:
    return Example(
        example.id, example.pair or "", example.text, target=example.target, where=example.where
    )


def _read(
    path: Path, glue: GlueTask, task: Task, notes: dict[str, int], is_test: bool = False
) -> list[Example]:
    """The examples of one file. Raises DataError that names the line.

    Rows with too few fields, which QQP's own files have, are left out and counted in the notes, as
    the authors do (classification_tasks.py:156-171). An answer per row of a test set is wanted.
    """
    if not path.is_file():
        raise DataError(
            f"no such file: {path}",
            hint="name the folder of the official zip that has train.tsv: --data FOLDER",
        )
    places = glue.test_texts if is_test else glue.texts
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    first = 1 if glue.has_header or is_test else 0
    examples: list[Example] = []
    broken: list[DataError] = []
    columns = Columns("", "text", "pair" if len(places) > 1 else None, "label", None, None)
    for number, line in enumerate(lines[first:], start=first + 1):
        if not line.strip():
            continue
        cells = line.rstrip("\r").split("\t")
        where = f"{path}, line {number}"
        try:
            texts = [cells[place] for place in places]
            label = None if is_test else cells[glue.label]
        except IndexError:
            problem = f"{where}: {len(cells)} fields, too few for {glue.submission}"
            broken.append(DataError(problem, hint="copy the official file again"))
            continue
        if label is not None and glue.label_names and label not in glue.label_names:
            raise DataError(
                f"{where}: the label is {label[:40]!r}, not one of {', '.join(glue.label_names)}",
                hint="copy the official file again",
            )
        values = {"text": texts[0], "pair": texts[-1], "label": label}
        examples.append(task.example(Row(values, where), columns, len(examples)))
    if broken and (is_test or not examples):
        raise broken[0]
    if not is_test:
        notes[f"{path.name} rows with too few fields, left out"] = len(broken)
    return examples


def submission_of(name: str, split: str, predictions: Predictions) -> tuple[str, list[str]] | None:
    """(name, lines) of the file that gluebenchmark.com takes, of a test split."""
    _, glue = task_of(name)
    if not split.startswith("test"):
        return None
    file = f"{glue.submission}.tsv"
    for ending, name_of_split in ((_MISMATCHED, "MNLI-mm"), (_DIAGNOSTIC, "AX")):
        if split.endswith(ending):
            file = f"{name_of_split}.tsv"
    answers: Sequence[str]
    if isinstance(predictions, RegressionPredictions):
        answers = [f"{min(5.0, max(0.0, value)):.3f}" for value in predictions.predicted]
    else:
        assert isinstance(predictions, ClassPredictions)
        answers = [predictions.label_names[index] for index in predictions.predicted]
    return file, ["index\tprediction", *(f"{n}\t{a}" for n, a in enumerate(answers))]
