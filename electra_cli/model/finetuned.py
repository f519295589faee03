"""Models that answer something already: fine-tuned ones, and discriminators."""

from pathlib import Path
from typing import Any

from transformers import (
    AutoConfig,
    AutoModelForPreTraining,
    ElectraForPreTraining,
    PreTrainedConfig,
)
from transformers.utils import logging as transformers_logging

from electra_cli.errors import RunError
from electra_cli.machine import is_limit_reached
from electra_cli.model.encoders import check_hub
from electra_cli.model.heads import HEAD_CLASSES, HeadKind

_ENDINGS: tuple[tuple[str, HeadKind], ...] = (
    ("ForSequenceClassification", "sequence"),
    ("ForTokenClassification", "token"),
    ("ForQuestionAnswering", "span"),
    ("ElectraForPreTraining", "token"),
)


def open_finetuned(name: str | Path) -> tuple[Any, HeadKind]:
    """A model that answers something, and what: labels, or of a discriminator, tokens.

    Raises RunError if it is none, or lacks a weight: transformers would draw a head at random.
    """
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        if not Path(name).exists():
            check_hub(str(name))
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        architecture = (config.architectures or [""])[0]
        kind = next((kind for ending, kind in _ENDINGS if architecture.endswith(ending)), None)
        info: dict[str, Any] = {}
        if kind is not None:
            auto = AutoModelForPreTraining if is_discriminator(config) else HEAD_CLASSES[kind]
            network, info = auto.from_pretrained(
                name, output_loading_info=True, trust_remote_code=False
            )
    except Exception as error:  # as in open_encoder
        if is_limit_reached(error):
            raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise RunError(
            f"{name} is no model that transformers opens: {reason}",
            hint="name a folder that electra finetune made, or a discriminator",
        ) from error
    if kind is None:
        raise RunError(
            f"{name} is a {architecture or 'model of an unknown kind'}, which answers nothing yet",
            hint="fine-tune it first: electra finetune ENCODER --train FILE",
        )
    if info["missing_keys"] or info["mismatched_keys"]:
        missing = (*sorted(info["missing_keys"]), *info["mismatched_keys"])
        raise RunError(
            f"{name} lacks {missing[0]} and {len(missing) - 1} more weights",
            hint="copy the folder again",
        )
    return network, kind


def is_discriminator(config: PreTrainedConfig) -> bool:
    """Whether a model says of each token whether it was replaced."""
    return (config.architectures or [""])[0] == ElectraForPreTraining.__name__
