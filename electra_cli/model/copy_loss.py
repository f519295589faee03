"""The loss of all_tokens_mlm: a softmax over the vocabulary, mixed with a gate that copies.

p(word) = D [word = input] + (1 - D) softmax(word), D a sigmoid (Clark et al. 2020, section 3.4).
This objective is there to compare with, not to be fast, so its loss is plain autograd. Each chunk
is computed again in the backward pass, so the logits of all tokens never exist at once.
"""

# Shapes: T tokens, n of a chunk, E embedding size, V vocabulary.

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from electra_cli.model.masked_lm import rows_of_chunk


def copy_loss(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    copy_logits: Tensor,
    input_ids: Tensor,
    target_ids: Tensor,
    rows_per_chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """hidden [T, E], weight [V, E], bias [V], copy_logits, input_ids, target_ids [T].

    Returns the summed cross entropy [] and whether the most probable word is the target [T]; it
    computes in float32, whatever the precision of the rest.
    """
    rows = rows_per_chunk or rows_of_chunk(weight)
    loss, correct = hidden.new_zeros((), dtype=torch.float32), []
    with torch.autocast(hidden.device.type, enabled=False):
        for first in range(0, len(hidden), rows):
            chunk = slice(first, first + rows)
            chunk_loss, is_correct = checkpoint(
                _chunk_loss,
                hidden[chunk].float(),
                weight.float(),
                bias.float(),
                copy_logits[chunk].float(),
                input_ids[chunk],
                target_ids[chunk],
                use_reentrant=False,
                preserve_rng_state=False,
            )
            loss = loss + chunk_loss
            correct.append(is_correct)
    return loss, torch.cat(correct)


def _chunk_loss(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    copy_logits: Tensor,
    input_ids: Tensor,
    target_ids: Tensor,
) -> tuple[Tensor, Tensor]:
    log_words = torch.log_softmax(functional.linear(hidden, weight, bias), 1)  # [n, V]
    log_copy = functional.logsigmoid(copy_logits)
    log_not_copy = functional.logsigmoid(-copy_logits)

    def log_probability(words: Tensor) -> Tensor:
        """Words [n] -> log p [n]."""
        from_softmax = log_not_copy + log_words.gather(1, words[:, None]).squeeze(1)
        return torch.where(
            words == input_ids, torch.logaddexp(log_copy, from_softmax), from_softmax
        )

    with torch.no_grad():
        likeliest = log_words.argmax(1)
        copied = log_probability(input_ids) >= log_probability(likeliest)
        is_correct = torch.where(copied, input_ids, likeliest) == target_ids
    return -log_probability(target_ids).sum(), is_correct
