"""Answers of an exported model to new texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electra_cli.data.tokenizer import Tokenizer, load_tokenizer
from electra_cli.errors import RunError
from electra_cli.finetuning.batches import split_outputs
from electra_cli.finetuning.examples import Example
from electra_cli.finetuning.inputs import InputBuilder, InputCounts
from electra_cli.finetuning.outcome import MODEL_FOLDER
from electra_cli.finetuning.predictions import Predictions
from electra_cli.finetuning.session import run_network
from electra_cli.finetuning.tasks.task import Task
from electra_cli.model.encoders import first_position
from electra_cli.model.finetune_model import pack
from electra_cli.model.finetuned import is_discriminator, open_finetuned
from electra_cli.model.heads import HeadKind
from electra_cli.training.device import Compute

_USUAL_LENGTH = 512  # tokens, of a model that does not say what it was trained with
_NETWORKS_OF_RUNS = ("discriminator",)


@dataclass(frozen=True)
class Model:
    """A model on packed batches, with its tokenizer."""

    network: Any
    kind: HeadKind
    tokenizer: Tokenizer
    max_seq_length: int

    @property
    def judges_tokens(self) -> bool:
        """Whether it is a discriminator."""
        return is_discriminator(self.network.config)


def open_model(name: str, compute: Compute) -> Model:
    """A fine-tune, a run's discriminator, or a folder or id. Raises RunError if it is none."""
    path = _model_folder(name)
    network, kind = open_finetuned(path)
    longest = _USUAL_LENGTH
    positions = getattr(network.config, "max_position_embeddings", None)
    if positions is not None:
        longest = min(longest, int(positions) - first_position(network.base_model))
    length = int(getattr(network.config, "max_seq_length", None) or longest)
    pack(network)
    return Model(network.to(compute.device).eval(), kind, load_tokenizer(path), length)


def _model_folder(name: str) -> str:
    """The folder of the model inside a run or a fine-tune; any other name as it is."""
    path = Path(name)
    for inner in (MODEL_FOLDER, *_NETWORKS_OF_RUNS):
        if (path / inner / "config.json").is_file():
            return str(path / inner)
    several = sorted(str(found.parent) for found in path.glob(f"*/{MODEL_FOLDER}"))
    if several:
        raise RunError(
            f"{name} compares several encoders", hint=f"name one of: {', '.join(several)}"
        )
    return name


def predict(
    model: Model, task: Task, examples: Sequence[Example], compute: Compute
) -> tuple[Predictions, InputCounts]:
    """What a fine-tuned model says of each example, and what was cut."""
    builder = InputBuilder(model.tokenizer, model.max_seq_length)
    windows = task.windows(examples, builder)
    outputs = run_network(model.network, model.kind, windows, compute)
    parts = split_outputs(outputs, windows, is_per_token=model.kind == "span")
    return task.predictions(examples, windows, parts), builder.counts
