"""The yardstick: held-out text, corrupted once, on which every discriminator is scored.

The generator of trial 0, frozen, replaces tokens of the preset's held-out windows; masks and noise
are fixed by the seed. The text is written down with a checksum, so whoever goes on with the study
scores on the same tokens.

A discriminator that was trained with another mask fraction, or only briefly, expects another share
of replaced tokens than this text has. That is no lack of knowledge, but would rule the plain loss:
a trial of mask fraction 0.36 had the best AUC of four and the worst loss. So the loss is taken
after one number was added to all logits, the one that suits the text best.
"""

# Shapes: T tokens of all held-out windows.

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn import functional

from electra_cli.batch import Batch
from electra_cli.data.batches import join_batches
from electra_cli.disk import replace_file, sha256_of
from electra_cli.errors import RunError
from electra_cli.model.objectives.corruption import corrupt
from electra_cli.model.objectives.electra import ElectraObjective
from electra_cli.model.objectives.sums import area_under_curve
from electra_cli.training.device import Compute

_TEXT = ("token_type_ids", "position_ids", "cu_seqlens", "document_ids")
_SATURATED = 30.0  # a logit of probability 0 or 1 but for 1e-13
_HALVINGS = 40
_MASKS = ("masked_positions", "masked_ids", "sample_noise")


@dataclass(frozen=True)
class YardstickScore:
    """How well a discriminator tells the replaced tokens."""

    rtd_loss: float  # mean binary cross entropy at the best offset, nats a token
    rtd_auc: float | None  # over all tokens; None if no token is replaced
    rtd_content_auc: float | None  # without [CLS] and [SEP], which are never replaced


@dataclass(frozen=True)
class Yardstick:
    """The same windows twice: as they were written, and corrupted."""

    original: Batch
    corrupted: Batch

    @property
    def replaced_fraction(self) -> float:
        """Share of tokens that were replaced."""
        return (self.corrupted.input_ids != self.original.input_ids).float().mean().item()


@torch.no_grad()
def make_yardstick(
    model: ElectraObjective, held_out: Sequence[Batch], compute: Compute
) -> Yardstick:
    """Corrupt the held-out windows with a model's generator, without dropout."""
    was_training = model.training
    model.eval()
    parts = []
    for batch in held_out:
        with compute.autocast():
            on_device = batch.to(compute.device)
            corruption = corrupt(model.generator, on_device, model.objective, model.vocab_size)
        parts.append(corruption.input_ids.cpu())
    model.train(was_training)
    original = join_batches(list(held_out))
    return Yardstick(original, replace(original, input_ids=torch.cat(parts)))


@torch.no_grad()
def score_discriminator(
    model: ElectraObjective,
    yardstick: Yardstick,
    compute: Compute,
    micro_batch_size: int,
) -> YardstickScore:
    """Score a model's discriminator; its generator has no part in it."""
    was_training = model.training
    model.eval()
    logits = []
    for batch in yardstick.corrupted.split(micro_batch_size):
        with compute.autocast():
            on_device = batch.to(compute.device)
            logits.append(model.discriminate(on_device, on_device.input_ids).cpu())
    model.train(was_training)
    scores = torch.cat(logits)  # [T]
    labels = yardstick.corrupted.input_ids != yardstick.original.input_ids
    fitted = scores.double() + _best_offset(scores.double(), labels)
    loss = functional.binary_cross_entropy_with_logits(fitted, labels.double())
    content = ~yardstick.original.is_special
    return YardstickScore(
        rtd_loss=loss.item(),
        rtd_auc=area_under_curve(scores, labels),
        rtd_content_auc=area_under_curve(scores[content], labels[content]),
    )


def _best_offset(scores: Tensor, labels: Tensor) -> float:
    """What to add to logits [T] for the least loss against labels [T].

    There the mean probability is the share of positives, which grows with the offset: bisection.
    """
    share = labels.double().mean()
    low, high = -scores.max().item() - _SATURATED, -scores.min().item() + _SATURATED
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if (scores + middle).sigmoid().mean() < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def save_yardstick(yardstick: Yardstick, path: Path) -> str:
    """Write it whole or not at all -> its SHA-256."""
    original = yardstick.original
    tensors = {name: getattr(original, name).int() for name in _TEXT}
    tensors["original_ids"] = original.input_ids.int()
    tensors["corrupted_ids"] = yardstick.corrupted.input_ids.int()
    content = save(tensors)
    return replace_file(path, lambda file: file.write(content))


def load_yardstick(path: Path, sha256: str, made_on: str) -> Yardstick:
    """Read it back. Raises RunError if it is not the study's."""
    copy = f"copy {path.name} there from {made_on}, where trial 0 ran, or share the folder"
    if not path.is_file():
        raise RunError(f"{path} is missing: all trials are scored on its text", hint=copy)
    if sha256_of(path) != sha256:
        raise RunError(f"{path} is not the text that the other trials were scored on", hint=copy)
    tensors = load_file(path)
    fields = {name: tensors[name].long() for name in _TEXT}
    cu_seqlens = tensors["cu_seqlens"]
    original = Batch(
        **{**fields, "cu_seqlens": cu_seqlens},
        input_ids=tensors["original_ids"].long(),
        **dict.fromkeys(_MASKS, torch.empty(0, dtype=torch.long)),  # nothing is masked in it
        max_length=int(cu_seqlens.diff().max()),
    )
    return Yardstick(original, replace(original, input_ids=tensors["corrupted_ids"].long()))
