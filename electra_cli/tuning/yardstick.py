"""The yardstick of a study: one fixed corruption of the held-out text, for every discriminator.

The generator of trial 0, which is the preset unchanged, replaces tokens of the held-out windows.
Masks and noise follow from the seed. The text is saved with its checksum, so that every process and
every later trial scores on the same tokens.

The loss is taken at the best offset: one number is added to all logits first, the one that makes
the loss least. Without it the plain loss would mostly tell what share of replaced tokens a
discriminator expects, which depends on its mask fraction and on how long it was trained:
a trial of mask fraction 0.36 had the best AUC of four and the worst plain loss.
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
_MASKS = ("masked_positions", "masked_ids", "sample_noise")
_SATURATED = 30.0  # a logit whose probability is 0 or 1 to within 1e-13
_HALVINGS = 40  # of an interval of about 100: exact to 1e-10


@dataclass(frozen=True)
class DiscriminatorScore:
    """How well a discriminator tells the replaced tokens."""

    rtd_loss: float  # mean binary cross entropy at the best offset, nats per token
    rtd_auc: float | None  # over all tokens; None if no token is replaced
    rtd_content_auc: float | None  # without [CLS] and [SEP], which are never replaced


@dataclass(frozen=True)
class FixedCorruption:
    """The same windows twice: the original text, and the corrupted one."""

    original: Batch
    corrupted: Batch

    @property
    def is_replaced(self) -> Tensor:
        """Which tokens were replaced, bool [T]."""
        return self.corrupted.input_ids != self.original.input_ids

    @property
    def replaced_fraction(self) -> float:
        """Share of tokens that were replaced."""
        return self.is_replaced.float().mean().item()


@torch.no_grad()
def corrupt_held_out(
    model: ElectraObjective, held_out: Sequence[Batch], compute: Compute
) -> FixedCorruption:
    """Corrupt the held-out windows with a model's generator, without dropout."""
    was_training = model.training
    model.eval()
    parts = []
    for batch in held_out:
        with compute.autocast():
            on_device = batch.to(compute.device)
            made = corrupt(model.generator, on_device, model.objective, model.vocab_size)
        parts.append(made.input_ids.cpu())
    model.train(was_training)
    original = join_batches(list(held_out))
    return FixedCorruption(original, replace(original, input_ids=torch.cat(parts)))


@torch.no_grad()
def score_discriminator(
    model: ElectraObjective,
    corruption: FixedCorruption,
    compute: Compute,
    micro_batch_size: int,
) -> DiscriminatorScore:
    """Score a model's discriminator; its generator plays no part in it."""
    logits = _discriminator_logits(model, corruption, compute, micro_batch_size)
    return score_logits(logits, corruption)


def _discriminator_logits(
    model: ElectraObjective,
    corruption: FixedCorruption,
    compute: Compute,
    micro_batch_size: int,
) -> Tensor:
    """The discriminator's logits on the CPU, without dropout: [T]."""
    was_training = model.training
    model.eval()
    logits = []
    for batch in corruption.corrupted.split(micro_batch_size):
        with compute.autocast():
            on_device = batch.to(compute.device)
            logits.append(model.discriminate(on_device, on_device.input_ids).cpu())
    model.train(was_training)
    return torch.cat(logits)


def score_logits(logits: Tensor, corruption: FixedCorruption) -> DiscriminatorScore:
    """Score logits [T] : for each token, how likely it is that it was replaced."""
    labels = corruption.is_replaced
    fitted = logits.double() + _best_offset(logits.double(), labels)
    loss = functional.binary_cross_entropy_with_logits(fitted, labels.double())
    content = ~corruption.original.is_special
    return DiscriminatorScore(
        rtd_loss=loss.item(),
        rtd_auc=area_under_curve(logits, labels),
        rtd_content_auc=area_under_curve(logits[content], labels[content]),
    )


def _best_offset(logits: Tensor, labels: Tensor) -> float:
    """What to add to logits [T] for the least loss against labels [T].

    The loss is least where the mean probability is the share of positives. The mean probability
    grows with the offset, so bisection finds it.
    """
    share = labels.double().mean()
    low, high = -logits.max().item() - _SATURATED, -logits.min().item() + _SATURATED
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if (logits + middle).sigmoid().mean() < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def save_corruption(corruption: FixedCorruption, path: Path) -> str:
    """Write it whole or not at all -> its SHA-256."""
    original = corruption.original
    tensors = {name: getattr(original, name).int() for name in _TEXT}
    tensors["original_ids"] = original.input_ids.int()
    tensors["corrupted_ids"] = corruption.corrupted.input_ids.int()
    content = save(tensors)
    return replace_file(path, lambda file: file.write(content))


def load_corruption(path: Path, sha256: str, made_on: str) -> FixedCorruption:
    """Read what `save_corruption` wrote. Raises RunError if it is not the text of `sha256`."""
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
    return FixedCorruption(original, replace(original, input_ids=tensors["corrupted_ids"].long()))
