"""Every option of `electra finetune`, once: the `finetune:` section of a preset, and `--set`.

Null means that the value follows from the encoder's size and the task (recipe.py).
"""

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from electra_cli.config import (
    MAX_LAYERS,
    MAX_SEED,
    MAX_TOKENS,
    MAX_WINDOWS,
    Section,
    TrackerNames,
    option_table,
)
from electra_cli.errors import ConfigError

MAX_COUNT = 1_000  # of seeds

_ONLY_FOR = {
    "label_separator": ("multilabel",),
    "doc_stride": ("qa",),
    "class_weights": ("classify", "multilabel"),
    "head_dropout": ("classify", "multilabel", "regress"),
}
_SQUADS_NAMES = "questions are read by SQuAD's names: question, context, answers and id"
# By task: the columns that nothing reads there, and why.
UNREAD_COLUMNS = {
    "qa": {
        **dict.fromkeys(("text", "text_pair", "label", "id"), _SQUADS_NAMES),
        "group": "the questions of a context stay together in any case",
    },
    "tag": {"text_pair": "a sentence to tag is alone"},
}


class FinetuneConfig(Section):
    """What is learned from, and how."""

    encoders: tuple[str, ...] = Field(
        (), description="Runs, checkpoints of runs, Hugging Face folders or ids."
    )
    train: str | None = Field(None, description="File with labelled examples to learn from.")
    validation: str | None = Field(None, description="File to score on; null holds out a share.")
    test: str | None = Field(None, description="File to score on at the end.")
    data: str | None = Field(None, description="Official folder of a GLUE task.")
    task: str = Field(
        "auto",
        pattern=r"^(auto|classify|multilabel|regress|tag|qa|glue/[A-Za-z0-9-]+)$",
        description="classify, multilabel, regress, tag, qa, glue/NAME; auto: where the columns "
        "leave no doubt.",
    )
    text: str | None = Field(None, description="Column of the text, or of the tokens to tag.")
    text_pair: str | None = Field(None, description="Column of a second text.")
    label: str | None = Field(None, description="Column of the label, or of the tags.")
    id: str | None = Field(None, description="Column that names an example; null counts rows.")
    group: str | None = Field(
        None, description="Column whose values never stand on both sides of the held-out split."
    )
    label_separator: str = Field(
        "|", min_length=1, description="Between the labels of an example, where a cell has several."
    )
    subset: str | None = Field(None, description="Configuration of a dataset id.")
    validation_fraction: float = Field(
        0.1, gt=0, le=0.5, description="Share of the training examples held out without a file."
    )
    seeds: tuple[int, ...] = Field(
        (0,), min_length=1, description="One fine-tune per seed: head, order and dropout."
    )
    layers: int | None = Field(
        None,
        ge=1,
        le=MAX_LAYERS,
        description="Use so many of the encoder's layers, from the first; null: all. The last ones "
        "of a short RTD run are in the way (study.md).",
    )
    epochs: float | None = Field(
        None,
        gt=0,
        le=10_000,
        description="Passes over the examples; null: 3 (RTE and STS-B 10, qa 2), or what makes 600 "
        "steps, at most 20.",
    )
    learning_rate: float | None = Field(
        None, gt=0, description="Peak rate of the head; null: 3e-4, 1e-4 or 5e-5 by width."
    )
    layer_decay: float | None = Field(
        None, gt=0, le=1, description="Factor of the rate per layer; null: 0.8, large 0.9."
    )
    layer_rates: Literal["published", "paper"] = Field(
        "published",
        description="published: the last layer has layer_decay squared, as in the authors' code; "
        "paper: layer_decay.",
    )
    batch_size: int = Field(32, ge=1, le=MAX_WINDOWS, description="Examples per optimizer step.")
    micro_batch_size: int | None = Field(
        None, ge=1, le=MAX_WINDOWS, description="Examples per forward pass; null: the whole batch."
    )
    max_seq_length: int | None = Field(
        None,
        ge=8,
        le=MAX_TOKENS,
        description="Longest input in tokens; null: 128, qa 512, or what the encoder reads.",
    )
    doc_stride: int = Field(
        128, ge=1, description="Tokens by which the next window of a long context moves on (qa)."
    )
    warmup_fraction: float = Field(0.1, ge=0, le=1, description="Share of the steps that warm up.")
    weight_decay: float = Field(0.0, ge=0, description="Weight decay, as AdamW's in pre-training.")
    max_grad_norm: float | None = Field(1.0, gt=0, description="Clip the global norm; null: never.")
    dropout: float | None = Field(
        None, ge=0, lt=1, description="Dropout of the encoder; null: as its config says."
    )
    head_dropout: float = Field(
        0.1, ge=0, lt=1, description="Dropout before the head of classify, multilabel and regress."
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: a class counts n / (C n_c), so rare ones count as much."
    )
    untrained_twin: bool = Field(
        True, description="Also train the same network from random weights, as a control."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="Matmul precision; auto picks the fastest the device supports."
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps.")
    log_every: int = Field(10, ge=1, description="Steps between rows of training_log.csv.")
    save_every: int = Field(500, ge=1, description="Steps between checkpoints.")
    report_to: TrackerNames = Field(
        (), description="Where rows of the logs also go, as run.report_to."
    )

    @field_validator("seeds", mode="before")
    @classmethod
    def _count_or_list(cls, value: object) -> object:
        """Read 5 as 0 to 4, and `0,1,2` as these."""
        text = str(value) if isinstance(value, int | str) else ""
        if text.isdecimal() and 1 <= int(text) <= MAX_COUNT:
            return tuple(range(int(text)))
        if re.fullmatch(r"\d+(,\d+)+", text):
            return tuple(int(part) for part in text.split(","))
        return value

    @model_validator(mode="after")
    def _plausible(self) -> "FinetuneConfig":
        if self.micro_batch_size is not None and self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"finetune.batch_size {self.batch_size} is no multiple of "
                f"micro_batch_size {self.micro_batch_size}"
            )
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("finetune.seeds has a seed twice")
        if not all(0 <= seed <= MAX_SEED for seed in self.seeds):
            raise ValueError(f"finetune.seeds must lie between 0 and {MAX_SEED}")
        return self


class FinetuneRecipe(Section):
    """The root of a fine-tune's config.yaml, and of a preset's section."""

    finetune: FinetuneConfig = FinetuneConfig()


def refuse_idle(config: FinetuneConfig, task: str) -> None:
    """Raise ConfigError for an option that was set and that nothing reads in this fine-tune."""
    idle = dict(UNREAD_COLUMNS.get(task, {}))
    if config.task.startswith("glue/"):
        names = ("train", "validation", "test", "text", "text_pair", "label", "id", "subset")
        idle = dict.fromkeys(names, f"the official files of {config.task} say it")
        for name in ("group", "validation_fraction"):
            idle[name] = f"{config.task} has its own validation file"
    else:
        idle["data"] = "it is the folder of a GLUE task: --task glue/NAME"
        if config.validation is not None:
            idle["group"] = idle["validation_fraction"] = "a file is named to score on"
        named = [name for name in (config.train, config.validation, config.test) if name]
        if all(Path(name).exists() for name in named):
            idle["subset"] = "it is of a dataset id, and files are named"
    for name, tasks in _ONLY_FOR.items():
        if task not in tasks:
            idle[name] = f"it acts on {' and '.join(tasks)}, and the task is {task}"
    for name, reason in idle.items():
        value = getattr(config, name)
        if value != FinetuneConfig.model_fields[name].default:
            raise ConfigError(
                f"finetune.{name} = {value!r} does nothing: {reason}", hint=f"leave {name} out"
            )


if __name__ == "__main__":
    print(option_table(FinetuneRecipe))
