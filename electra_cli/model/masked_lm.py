"""The generator's output layer: loss and samples from one pass over the logits.

Only masked positions have logits. They are computed in chunks, and each chunk's gradient is made
in the same pass, so no [N, V] tensor outlives it. Logits, probabilities and losses are float32
whatever the precision of the rest.
"""

# Shapes: N masked slots, n of a chunk, E embedding size, V vocabulary, W its width in products.

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from electra_cli.model.layers.autocast import autocast_dtype

# Elements of a chunk's logits [n, V], float32. A chunk has two such tensors, logits and
# probabilities, and a third for the cumulative sums of samples. On a CPU 16 MB each: enough for
# matrix products at full speed, and less than the 32 MB from which malloc returns memory to the
# system and maps it again page by page. On a GPU 256 MB: few kernels, and enough rows for all
# processors.
CPU_CHUNK_ELEMENTS = 2**22
GPU_CHUNK_ELEMENTS = 2**26
# A GPU multiplies 16 bits several times faster where rows begin at multiples of 16 bytes: for
# BERT's 30,522 words and E = 768, 3 times (H200, torch 2.11), as long as those of 30,528.
_ALIGNED_WORDS = 8


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
    rows_per_chunk: int | None = None,
    dtype: torch.dtype | None = None,
) -> MaskedLMOutput:
    """hidden [N, E], weight [V, E], bias [V], target_ids [N], noise [N] in [0, 1).

    A sample is the inverse of the cumulative distribution at the noise: one random number per
    slot, where Gumbel noise would need V. With disallow_correct the target is never sampled.
    rows_per_chunk is by default as large as the device does well with. dtype is that of the
    products' factors: on a GPU autocast's, whose products with 16 bits have float32 results and
    take a seventh (E = 128) to a fourteenth (E = 768) of the time of those with TF32 on an H200;
    elsewhere float32.
    """
    if dtype is None:
        dtype = autocast_dtype(hidden) if hidden.device.type == "cuda" else torch.float32
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
            rows_per_chunk or rows_of_chunk(weight),
            dtype,
        )
    return MaskedLMOutput(*output)


def rows_of_chunk(weight: Tensor) -> int:
    """How many rows may have logits at a time; weight [V, E]."""
    elements = CPU_CHUNK_ELEMENTS if weight.device.type == "cpu" else GPU_CHUNK_ELEMENTS
    return max(1, elements // weight.shape[0])


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
        rows_per_chunk: int,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        needs_gradient = is_training and any(ctx.needs_input_grad)
        layer = _OutputLayer(hidden, weight, bias, dtype)
        gradients = _Gradients(hidden, weight, layer) if needs_gradient else None
        # Empty tensors first, so that they can be joined if there is no slot.
        losses, samples = [hidden.new_empty(0)], [target_ids.new_empty(0)]
        correct = [target_ids.new_empty(0, dtype=torch.bool)]
        for first in range(0, len(hidden), rows_per_chunk):
            chunk = slice(first, first + rows_per_chunk)
            targets = target_ids[chunk, None]
            logits = layer.logits(chunk)
            probabilities = logits.softmax(1)
            loss, is_correct = _compare(logits, probabilities, targets)
            losses.append(loss)
            correct.append(is_correct)
            if noise is not None:
                drawn_from = probabilities
                if temperature != 1.0 or disallow_correct:
                    drawn_from = _change_distribution(
                        logits, temperature, targets if disallow_correct else None
                    )
                samples.append(_sample(drawn_from, noise[chunk]))
            if gradients is not None:
                gradients.add(chunk, probabilities, targets)
        all_losses, sampled, is_correct = torch.cat(losses), torch.cat(samples), torch.cat(correct)
        ctx.mark_non_differentiable(all_losses, sampled, is_correct)
        if gradients is not None:
            size = len(weight)
            ctx.save_for_backward(
                gradients.of_hidden, gradients.of_weight[:size], gradients.of_bias[:size]
            )
        return all_losses.sum(), all_losses, sampled, is_correct

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        # In place: a second backward pass would find tensors that were changed, which raises.
        of_hidden, of_weight, of_bias = (saved.mul_(grad_loss) for saved in ctx.saved_tensors)
        return of_hidden, of_weight, of_bias, *[None] * 7


class _OutputLayer:
    """hidden [N, E] times weight [W, E], in the dtype of the products' factors."""

    def __init__(self, hidden: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> None:
        self.hidden, self.weight, self.bias = hidden, weight, bias
        if dtype != torch.float32:
            more = -len(weight) % _ALIGNED_WORDS
            self.hidden = hidden.to(dtype)
            self.weight = functional.pad(weight.to(dtype), (0, 0, 0, more))
            self.bias = functional.pad(bias, (0, more), value=float("-inf"))  # of probability 0

    def logits(self, chunk: slice) -> Tensor:
        """[n, W] float32."""
        if self.weight.dtype == torch.float32:
            return torch.addmm(self.bias, self.hidden[chunk], self.weight.t())
        return product(self.hidden[chunk], self.weight.t()).add_(self.bias)


class _Gradients:
    """Gradients of the summed loss, float32, which grow chunk by chunk."""

    def __init__(self, hidden: Tensor, weight: Tensor, layer: _OutputLayer) -> None:
        """Of hidden [N, E] and weight [V, E] in float32, as the layer was given them."""
        self._layer = layer
        self.of_hidden = torch.empty_like(hidden)
        # The first chunk overwrites it; a batch without slots has none.
        self.of_weight = torch.empty_like(weight) if len(hidden) else torch.zeros_like(weight)
        self.of_bias = torch.zeros_like(layer.bias)

    def add(self, chunk: slice, probabilities: Tensor, targets: Tensor) -> None:
        """Those of a chunk's probabilities [n, W], which are overwritten, and targets [n, 1]."""
        # d loss / d logits = softmax - one-hot of the target
        minus_one = torch.full_like(targets, -1.0, dtype=probabilities.dtype)
        of_logits = probabilities.scatter_add_(1, targets, minus_one)
        self.of_bias += of_logits.sum(0)
        hidden, is_first = self._layer.hidden[chunk], chunk.start == 0
        of_logits = of_logits.to(hidden.dtype)
        self.of_hidden[chunk] = product(of_logits, self._layer.weight)
        if hidden.dtype == torch.float32:
            self.of_weight.addmm_(of_logits.t(), hidden, beta=int(not is_first))
        else:
            of_weight = product(of_logits.t(), hidden)
            self.of_weight = of_weight if is_first else self.of_weight.add_(of_weight)


def product(left: Tensor, right: Tensor) -> Tensor:
    """left @ right, float32 whatever the dtype of both."""
    if left.dtype == torch.float32:
        return left @ right
    if left.device.type == "cuda":
        return torch.mm(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()  # a CPU has no such product, but the same numbers


def _compare(logits: Tensor, probabilities: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and probabilities [n, V], targets [n, 1] -> cross entropies, whether it is right [n].

    It is right where the most probable word is the target.
    """
    highest, best = logits.max(1, keepdim=True)
    # The logarithm of the sum of exponentials, from a probability that never underflows.
    log_total = highest - probabilities.gather(1, best).log()
    losses = log_total - logits.gather(1, targets)
    return losses.squeeze(1), (best == targets).squeeze(1)


def _change_distribution(logits: Tensor, temperature: float, excluded: Tensor | None) -> Tensor:
    """Logits [n, V], which are overwritten -> probabilities [n, V], 0 at `excluded` [n, 1]."""
    logits.div_(temperature)
    if excluded is not None:
        logits.scatter_(1, excluded, float("-inf"))
    return logits.softmax(1)


def _sample(probabilities: Tensor, noise: Tensor) -> Tensor:
    """Unnormalised probabilities [n, V] and noise [n] -> ids [n]; of probability 0 never."""
    cumulative = probabilities.cumsum(1)
    # right=True takes the first id whose cumulative probability is above the noise. There is none
    # where logits are not finite: the clamp lets such a step go on until its loss is looked at.
    drawn = torch.searchsorted(cumulative, noise[:, None] * cumulative[:, -1:], right=True)
    return drawn.squeeze(1).clamp_(max=probabilities.shape[1] - 1)
