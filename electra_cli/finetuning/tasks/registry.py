"""Which class a task's name means, and which task a fine-tuned model answers."""

from typing import Any

from electra_cli.finetuning.settings import FinetuneConfig
from electra_cli.finetuning.tasks.answer import Answer
from electra_cli.finetuning.tasks.sequence import Classify, MultiLabel, Regress
from electra_cli.finetuning.tasks.tag import Tag
from electra_cli.finetuning.tasks.task import Task
from electra_cli.model.heads import HeadKind


def build_task(name: str, config: FinetuneConfig) -> Task:
    """A task that has not seen its labels yet."""
    tasks: dict[str, Task] = {
        "classify": Classify(),
        "multilabel": MultiLabel(config.label_separator),
        "regress": Regress(),
        "tag": Tag(),
        "qa": Answer(config.doc_stride),
    }
    return tasks[name]


def task_of_model(kind: HeadKind, model_config: Any) -> Task:
    """The task of an exported model; its outputs are in the units of the labels already."""
    task: Task
    if kind == "span":
        task = Answer(
            getattr(model_config, "doc_stride", 128),
            getattr(model_config, "has_unanswerable", False),
        )
    elif kind == "token":
        task = Tag()
    elif model_config.problem_type == Regress.problem_type or model_config.num_labels == 1:
        task = Regress()
    elif model_config.problem_type == MultiLabel.problem_type:
        task = MultiLabel()
    else:
        task = Classify()
    if kind != "span":
        task.label_names = tuple(model_config.id2label[i] for i in range(model_config.num_labels))
    return task
