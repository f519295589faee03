"""`replace_mlm`: restore the words that a generator put in place of [MASK].

A comparison of the paper's (Clark et al. 2020, section 3.4), as is all_tokens_mlm.py, which
restores every word.
"""

# Shapes: T tokens of a packed batch, N masked slots, H hidden size, W words to restore.

from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor
from transformers import ElectraConfig, ElectraForMaskedLM

from electra_cli.batch import Batch
from electra_cli.config import ModelConfig
from electra_cli.model.networks import (
    build_generator,
    encode,
    predict_words,
)
from electra_cli.model.objectives.corruption import (
    GENERATOR_USE,
    MASKED_LM_USE,
    Corruption,
    corrupt,
    generator_loss,
)
from electra_cli.model.objectives.objective import NetworkLoss, Objective, StepCounts
from electra_cli.model.objectives.sums import (
    corruption_metrics,
    count,
    mlm_metrics,
    word_metrics,
)


class ReplaceMLMObjective(Objective):
    """A generator, and a masked language model that restores words in the corrupted text."""

    main_network = "masked_lm"
    predicts_words = True
    reads_all_tokens = False
    metric_groups = (mlm_metrics, corruption_metrics, word_metrics)
    main_loss = "word_loss"
    uses: ClassVar[dict[str, str]] = {"masked_lm": MASKED_LM_USE, "generator": GENERATOR_USE}

    def _build_networks(
        self, main: ElectraConfig, generator: ElectraConfig, model: ModelConfig
    ) -> None:
        self.masked_lm = ElectraForMaskedLM(main)
        self.generator = build_generator(generator, self.masked_lm, model, self.objective)

    def losses(self, batch: Batch, step: StepCounts) -> Iterator[NetworkLoss]:
        """The generator's loss, then that of the restored words."""
        corruption = corrupt(self.generator, batch, self.objective, self.vocab_size, step)
        is_alone = self.trains_generator_alone(step)
        yield from generator_loss(corruption, self.objective, step, is_alone)
        if is_alone:
            return
        hidden = encode(self.masked_lm, corruption.input_ids, batch)
        loss_sum, is_correct = self._restore(batch, corruption, hidden)
        num_words = step.tokens_read(self.reads_all_tokens)
        loss = self.objective.discriminator_loss_weight / num_words * loss_sum
        sums = {
            **corruption.sums,
            "word_loss": loss_sum.detach(),  # over the words to restore
            "word_correct": is_correct.sum(),  # words whose most probable token is the original
            "words": count(len(is_correct), loss_sum.device),
        }
        yield NetworkLoss(loss, sums)

    def _restore(
        self, batch: Batch, corruption: Corruption, hidden: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Hidden states [T, H] -> the summed loss [], and which words are right [W]."""
        targets = batch.input_ids[batch.masked_positions]
        output = predict_words(self.masked_lm, hidden[batch.masked_positions], targets)
        return output.loss_sum, output.is_correct


OBJECTIVE = ReplaceMLMObjective
