"""What a forward pass returns, whatever the objective."""

# Shapes: T tokens of a packed batch, J judged tokens.

from typing import NamedTuple

import torch
from torch import Tensor


class PretrainSums(NamedTuple):
    """Sums over a batch, [] each, without gradient; the counts they are divided by come last.

    A count of 0 says that the objective has no such part.
    """

    mlm_loss: Tensor  # over all predicted slots
    mlm_masked_loss: Tensor  # over the slots that show [MASK]
    mlm_correct: Tensor  # slots whose most probable token is the original
    sampled_correct: Tensor  # slots whose sample is the original
    rtd_loss: Tensor  # over all judged tokens
    rtd_correct: Tensor  # tokens judged rightly
    rtd_found: Tensor  # replaced tokens judged replaced
    word_loss: Tensor  # over the words that the main network restores in the corrupted text
    word_correct: Tensor  # words whose most probable token is the original
    replaced: Tensor  # tokens that differ from the original text
    predicted: Tensor  # slots that a masked language model predicts
    shown_masks: Tensor  # those that show [MASK]
    judged: Tensor  # tokens judged replaced or original
    rtd_flagged: Tensor  # those judged replaced
    rtd_replaced: Tensor  # those that are replaced
    words: Tensor  # words to restore

    @classmethod
    def zeros(cls, device: torch.device) -> "PretrainSums":
        """Nothing counted yet."""
        return cls(*[torch.zeros((), device=device)] * len(cls._fields))


def count(number: int, device: torch.device) -> Tensor:
    """A number the host knows as a tensor [] of the device; nothing waits for it."""
    return torch.full((), float(number), device=device)


class Judgements(NamedTuple):
    """What the discriminator says of each token it judges."""

    logits: Tensor  # [J] without gradient, positive where a token looks replaced
    is_replaced: Tensor  # [J] bool
    positions: Tensor | None  # [J] indices into [T]; None: all T tokens


class PretrainOutput(NamedTuple):
    """One forward pass of all networks."""

    loss: Tensor  # [] what is minimised
    sums: PretrainSums
    judgements: Judgements | None  # None without a discriminator
