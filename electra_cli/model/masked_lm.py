"""The generator's last mile: loss and samples from one pass over the logits.

Only masked positions have logits, in chunks, in float32 whatever the precision of the rest; the
gradient is made in the same pass, so that no [N, V] tensor outlives its chunk.
"""

# Shapes: N masked slots, E embedding size, V vocabulary.

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Rows times V float32 of a chunk, which has two such tensors, logits and probabilities, and a third
# for the sums that samples need. On a CPU 16 MB: enough for the products to run at full speed, and
# less than the 32 MB from which malloc gives memory back, to be mapped again page by page. On a
# GPU 256 MB: few kernels, and rows enough for all its processors.
CPU_CHUNK_ELEMENTS = 2**22
GPU_CHUNK_ELEMENTS = 2**26


class MaskedLMOutput(NamedTuple):
    """What one pass over the logits gives; only loss_sum has a gradient."""

    loss_sum: Tensor  # [] cross entropies, summed
    losses: Tensor  # [N] float32
    sampled_ids: Tensor  # [N] int64, drawn from softmax(logits / temperature); [0] without noise
    is_correct: Tensor  # [N] bool, whether the most probable token is the target


def masked_lm(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    target_ids: Tensor,
    noise: Tensor | None,
    temperature: float = 1.0,
    disallow_correct: bool = False,
) -> MaskedLMOutput:
    """hidden [N, E], weight [V, E], bias [V], target_ids [N], noise [N] in [0, 1).

    A sample is the inverse of the cumulative distribution at the noise: one number a slot, where
    Gumbel noise would draw V. With disallow_correct the target is never sampled.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        output = _SampledCrossEntropy.apply(  # type: ignore[no-untyped-call]
            hidden.float(),
            weight.float(),
            bias.float(),
            target_ids,
            noise,
            temperature,
            disallow_correct,
            torch.is_grad_enabled(),  # always off inside of forward
        )
    return MaskedLMOutput(*output)


def rows_of_chunk(weight: Tensor) -> int:
    """How many rows may have logits at a time; weight [V, E]."""
    elements = CPU_CHUNK_ELEMENTS if weight.device.type == "cpu" else GPU_CHUNK_ELEMENTS
    return max(1, elements // weight.shape[0])


def _sample(probabilities: Tensor, noise: Tensor) -> Tensor:
    """Unnormalised probabilities [n, V] and noise [n] -> ids [n]; of probability 0 never."""
    cumulative = probabilities.cumsum(1)
    # right=True takes the first id whose cumulative probability is above the noise. The product
    # may round up to the total, hence the clamp.
    drawn = torch.searchsorted(cumulative, noise[:, None] * cumulative[:, -1:], right=True)
    return drawn.squeeze(1).clamp_(max=probabilities.shape[1] - 1)


class _SampledCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        target_ids: Tensor,
        noise: Tensor | None,
        temperature: float,
        disallow_correct: bool,
        is_training: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        needs_gradient = is_training and any(ctx.needs_input_grad)
        rows = rows_of_chunk(weight)
        grad_hidden = torch.empty_like(hidden) if needs_gradient else None
        grad_weight = torch.empty_like(weight) if needs_gradient else None
        grad_bias = torch.zeros_like(bias) if needs_gradient else None
        losses, samples, correct = [], [], []
        for first in range(0, len(hidden), rows):
            chunk = slice(first, first + rows)
            targets = target_ids[chunk, None]
            logits = torch.addmm(bias, hidden[chunk], weight.t())
            probabilities = logits.softmax(1)
            highest, best = logits.max(1, keepdim=True)
            # The logarithm of the sum of exponentials, from a probability that never underflows.
            log_total = highest - probabilities.gather(1, best).log()
            losses.append((log_total - logits.gather(1, targets)).squeeze(1))
            correct.append((best == targets).squeeze(1))
            if noise is not None:
                drawn_from = probabilities
                if temperature != 1.0 or disallow_correct:
                    tempered = logits.div_(temperature)
                    if disallow_correct:
                        tempered.scatter_(1, targets, float("-inf"))
                    drawn_from = tempered.softmax(1)
                samples.append(_sample(drawn_from, noise[chunk]))
            if needs_gradient:
                assert grad_hidden is not None
                assert grad_weight is not None
                assert grad_bias is not None
                # d loss / d logits = softmax - one-hot of the target
                gradient = probabilities.scatter_add_(1, targets, torch.full_like(highest, -1.0))
                grad_hidden[chunk] = gradient @ weight
                grad_weight.addmm_(gradient.t(), hidden[chunk], beta=int(first > 0))
                grad_bias += gradient.sum(0)
        empty = hidden.new_empty(0)
        all_losses = torch.cat(losses) if losses else empty
        sampled = torch.cat(samples) if samples else empty.long()
        is_correct = torch.cat(correct) if correct else empty.bool()
        ctx.mark_non_differentiable(all_losses, sampled, is_correct)
        if needs_gradient:
            ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        return all_losses.sum(), all_losses, sampled, is_correct

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        # In place: a second backward pass would find tensors that were changed, which raises.
        hidden, weight, bias = (saved.mul_(grad_loss) for saved in ctx.saved_tensors)
        return hidden, weight, bias, None, None, None, None, None
