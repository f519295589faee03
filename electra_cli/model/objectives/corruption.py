"""Corrupted text: replacements from a jointly trained generator, or drawn uniformly."""

# Shapes: T tokens of a packed batch, N masked slots, V vocabulary.

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import ElectraForMaskedLM

from electra_cli.batch import Batch
from electra_cli.config import ObjectiveConfig
from electra_cli.model.masked_lm import MaskedLMOutput
from electra_cli.model.networks import encode, predict_words
from electra_cli.model.objectives.objective import NetworkLoss, StepCounts
from electra_cli.model.objectives.sums import Sums, count
from electra_cli.schedule import last_value, value_at

GENERATOR_USE = """\
A small masked language model, which proposed the replacements:

```python
from transformers import pipeline

fill = pipeline("fill-mask", model=".")  # the folder of this file
fill(f"A {fill.tokenizer.mask_token} of text.")
```
"""
MASKED_LM_USE = """\
A masked language model, and a text encoder for fine-tuning:

```python
from transformers import pipeline

fill = pipeline("fill-mask", model=".")  # the folder of this file
fill(f"A {fill.tokenizer.mask_token} of text.")
```
"""


class Corruption(NamedTuple):
    """The text that the main network reads."""

    input_ids: Tensor  # [T]
    is_replaced: Tensor  # [T] bool
    loss_sum: Tensor | None  # [] the generator's, summed over its slots; None of a uniform one
    sums: Sums  # the generator's, and how much was replaced


def predict_masked(
    network: ElectraForMaskedLM, batch: Batch, objective: ObjectiveConfig, temperature: float
) -> tuple[MaskedLMOutput, Sums]:
    """Masked language modelling: losses, one sample per slot, and their sums."""
    original_ids = batch.input_ids[batch.masked_positions]
    masked_input = batch.input_ids.index_put((batch.masked_positions,), batch.masked_ids)
    hidden = encode(network, masked_input, batch)[batch.masked_positions]
    output = predict_words(
        network,
        hidden,
        original_ids,
        batch.sample_noise,
        temperature,
        objective.disallow_correct,
    )
    shows_mask = batch.masked_ids != original_ids
    sums = {
        "mlm_loss": output.loss_sum.detach(),  # over all predicted slots
        "mlm_masked_loss": (output.losses * shows_mask).sum(),  # over those that show [MASK]
        "mlm_correct": output.is_correct.sum(),  # slots whose most probable token is the original
        "sampled_correct": (output.sampled_ids == original_ids).sum(),
        "predicted": count(batch.num_masked, hidden.device),
        "shown_masks": shows_mask.sum(),
    }
    return output, sums


def corrupt(
    generator: ElectraForMaskedLM | None,
    batch: Batch,
    objective: ObjectiveConfig,
    vocab_size: int,
    step: StepCounts | None = None,
) -> Corruption:
    """Replace the masked slots by the generator's samples, or without one by uniform ones.

    The temperature is that of the step, or of the end of the run.
    The authors count a uniform generator's loss too, the constant log V; it moves no weight.
    """
    loss_sum = None
    if generator is not None:
        temperature = last_value(objective.temperature)
        if step is not None:
            temperature = value_at(objective.temperature, step.number, step.num_steps)
        with torch.set_grad_enabled(torch.is_grad_enabled() and objective.trains_generator):
            output, sums = predict_masked(generator, batch, objective, temperature)
        loss_sum, sampled_ids = output.loss_sum, output.sampled_ids
    else:
        original_ids = batch.input_ids[batch.masked_positions]
        sampled_ids = sample_uniformly(
            batch.sample_noise, original_ids, vocab_size, objective.disallow_correct
        )
        sums = {"sampled_correct": (sampled_ids == original_ids).sum()}
    # The corrupted text starts from the original: the main network never sees [MASK]
    # (run_pretraining.py:222).
    corrupted_ids = batch.input_ids.index_put((batch.masked_positions,), sampled_ids)
    # A sample equal to the original counts as original: the token defines the label, not whether
    # the generator touched it (paper, section 2).
    is_replaced = corrupted_ids != batch.input_ids
    sums["replaced"] = is_replaced.sum()  # tokens that differ from the original text
    return Corruption(corrupted_ids, is_replaced, loss_sum, sums)


def generator_loss(
    corruption: Corruption,
    objective: ObjectiveConfig,
    step: StepCounts,
    is_alone: bool,
) -> Iterator[NetworkLoss]:
    """The generator's share of what is minimised, if it learns.

    Its sums come with the main network's, unless it trains alone.
    """
    if corruption.loss_sum is not None and objective.trains_generator:
        loss = objective.generator_loss_weight / step.num_masked * corruption.loss_sum
        yield NetworkLoss(loss, corruption.sums if is_alone else {})


def sample_uniformly(
    noise: Tensor, original_ids: Tensor, vocab_size: int, disallow_correct: bool
) -> Tensor:
    """noise [N] in [0, 1), original_ids [N] -> ids [N], uniform over the vocabulary.

    As the authors', special tokens included; `disallow_correct` leaves the original out. The
    noise has 24 bits, so a vocabulary of 2**17 is uniform to one part in 128.
    """
    choices = vocab_size - disallow_correct
    # The noise is a whole number of 2**-24; in integers, since Apple's GPUs have no float64.
    drawn = ((noise * 2**24).long() * choices) >> 24
    return drawn + (drawn >= original_ids) if disallow_correct else drawn
