"""Hugging Face folders of both models, loaded again and compared after writing."""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    ElectraForPreTraining,
)
from transformers.utils import logging as transformers_logging

from electra_cli.batch import Batch, LabelledBatch, PackedTokens
from electra_cli.disk import replace_folder
from electra_cli.model.encoders import takes_segments
from electra_cli.model.finetune_model import packed_logits
from electra_cli.model.finetuned import open_finetuned
from electra_cli.model.heads import HeadKind, as_exported
from electra_cli.model.layers.attention import PackedLayout
from electra_cli.model.networks import Network

# Packed and padded attention add up in another order; float32 logits up to 10 stay within this, and
# larger ones, as those of a run that diverged, within so much more.
LOGIT_TOLERANCE = 1e-4
_USUAL_LOGIT = 10.0


def logit_difference(expected: Tensor, found: Tensor, scale: float = 1.0) -> float | None:
    """The largest difference of two networks' logits; None if it is within the tolerance."""
    difference = (expected - found).abs().max().item()
    largest = max(1.0, scale, expected.abs().max().item() / _USUAL_LOGIT)
    return None if difference <= LOGIT_TOLERANCE * largest else difference


def export_network(network: Network, folder: Path, sample: Batch) -> Any:
    """Write what AutoModelForPreTraining opens as a discriminator, AutoModelForMaskedLM as a masked
    language model.

    Returns it as it was loaded again. Raises RuntimeError if that is not the model that was
    trained.
    """
    is_discriminator = isinstance(network, ElectraForPreTraining)
    auto_class = AutoModelForPreTraining if is_discriminator else AutoModelForMaskedLM
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    network.save_pretrained(folder)
    loaded = auto_class.from_pretrained(folder, trust_remote_code=False)
    # On the CPU, where float32 products are exact: on a GPU they may run as TF32.
    _compare(copy.deepcopy(network).cpu(), loaded, sample)
    return loaded


def export_finetuned(
    network: Any,
    kind: HeadKind,
    directory: Path,
    tokenizer: Any,
    card: str,
    max_length: int,
    sample: LabelledBatch,
    scale: float = 1.0,
    shift: float = 0.0,
) -> None:
    """Write a fine-tuned network as transformers' own class, with scaled outputs.

    `max_length` tokens is the longest input of the network: where `truncation=True` cuts.

    Written beside, opened again, and its logits on padded rows compared with those in memory on
    packed ones, then renamed. Raises RuntimeError if they differ.
    """
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    plain = as_exported(network, kind, scale, shift)
    with replace_folder(directory) as partial:
        plain.save_pretrained(partial)
        exported = copy.deepcopy(tokenizer)
        exported.model_max_length = max_length
        exported.save_pretrained(partial)
        (partial / "README.md").write_text(card, encoding="utf-8")
        loaded = open_finetuned(partial)[0].eval()
        trained = copy.deepcopy(network).cpu().eval()  # on the CPU for the same reason as above
        with torch.no_grad():
            expected = packed_logits(trained, kind, sample)
            found = _padded_outputs(loaded, kind, sample)
        difference = logit_difference(expected * scale + shift, found, scale)
        if difference is not None:
            raise RuntimeError(f"export: logits differ by {difference:.2g}")


@torch.no_grad()
def _compare(trained: nn.Module, loaded: nn.Module, sample: Batch) -> None:
    expected, found = trained.state_dict(), loaded.state_dict()
    if expected.keys() != found.keys():
        raise RuntimeError(f"export: names differ: {expected.keys() ^ found.keys()}")
    for name, tensor in expected.items():
        if not torch.equal(tensor, found[name]):
            raise RuntimeError(f"export: {name} differs from the trained weights")
    difference = logit_difference(
        _packed_logits(trained.eval(), sample), _padded_logits(loaded.eval(), sample)
    )
    if difference is not None:
        raise RuntimeError(f"export: logits differ by {difference:.2g}")


def _packed_logits(model: nn.Module, batch: Batch) -> Tensor:
    """Logits [T, ...] as in training."""
    output = model(
        input_ids=batch.input_ids[None],
        token_type_ids=batch.token_type_ids[None],
        position_ids=batch.position_ids[None],
        layout=PackedLayout(batch),
    )
    logits: Tensor = output.logits[0]
    return logits


def _padded_logits(model: nn.Module, batch: Batch) -> Tensor:
    """Logits [T, ...] of the real tokens, as users of the exported folder get them."""
    inputs = padded_inputs(model, batch)
    logits: Tensor = model(**inputs).logits[inputs["attention_mask"].bool()]
    return logits


def _padded_outputs(model: Any, kind: HeadKind, batch: LabelledBatch) -> Tensor:
    """packed_logits, as users of the exported folder get them."""
    inputs = padded_inputs(model, batch)
    output = model(**inputs)
    if kind == "sequence":
        rows: Tensor = output.logits
        return rows
    is_real = inputs["attention_mask"].bool()
    if kind == "span":
        return torch.stack([output.start_logits[is_real], output.end_logits[is_real]], dim=1)
    tokens: Tensor = output.logits[is_real][batch.positions]
    return tokens


def padded_inputs(model: Any, batch: PackedTokens) -> dict[str, Tensor]:
    """A batch as transformers' models take it, one row per window."""
    lengths = batch.cu_seqlens.diff().tolist()

    def pad(tensor: Tensor, value: int = 0) -> Tensor:
        parts = list(torch.split(tensor, lengths))
        return nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=value)

    # RoBERTa counts positions by the ids that are not padding.
    inputs = {
        "input_ids": pad(batch.input_ids, model.config.pad_token_id or 0),
        "attention_mask": pad(torch.ones_like(batch.input_ids)),
    }
    if takes_segments(model.base_model):
        inputs["token_type_ids"] = pad(batch.token_type_ids)
    return inputs
