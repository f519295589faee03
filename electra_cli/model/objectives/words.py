"""Objectives whose main network predicts words: the baseline, and two of the paper's comparisons.

`mlm` is a masked language model of the discriminator's size. `replace_mlm` restores the tokens
that a generator put in place of [MASK]; `all_tokens_mlm` restores every token, with a gate that
may copy what it reads (Clark et al. 2020, section 3.4).
"""

# Shapes: T tokens of a packed batch, N masked slots, H hidden size.

from torch import Tensor, nn
from transformers import ElectraForMaskedLM

from electra_cli.batch import Batch
from electra_cli.config import ModelConfig, ObjectiveConfig
from electra_cli.model.copy_loss import copy_loss
from electra_cli.model.networks import (
    build_electra_configs,
    build_generator,
    encode,
    predict_words,
    set_initial_weights,
)
from electra_cli.model.objectives.corruption import Corruption, corrupt, predict_masked
from electra_cli.model.objectives.electra import Backward, Pretrainer
from electra_cli.model.objectives.sums import PretrainOutput, count


class MaskedLMPretrainer(Pretrainer):
    """One network, which predicts what [MASK] hides."""

    def __init__(
        self, model: ModelConfig, objective: ObjectiveConfig, vocab_size: int, pad_id: int
    ) -> None:
        super().__init__(objective, vocab_size)
        _, config = build_electra_configs(model, vocab_size, pad_id)
        self.masked_lm = ElectraForMaskedLM(config)
        set_initial_weights(self, [self.masked_lm], model)

    def forward(
        self, batch: Batch, num_masked: int, num_tokens: int, backward: Backward | None = None
    ) -> PretrainOutput:
        """See Pretrainer.forward."""
        output, sums = predict_masked(self.masked_lm, batch, self.objective)
        loss = self.objective.generator_loss_weight / num_masked * output.loss_sum
        return PretrainOutput(loss, sums, None)


class WordPretrainer(Pretrainer):
    """A generator, and a masked language model that restores words in the corrupted text."""

    def __init__(
        self, model: ModelConfig, objective: ObjectiveConfig, vocab_size: int, pad_id: int
    ) -> None:
        super().__init__(objective, vocab_size)
        generator_config, config = build_electra_configs(model, vocab_size, pad_id)
        self.masked_lm = ElectraForMaskedLM(config)
        self.generator = build_generator(generator_config, self.masked_lm, model, objective)
        self.copy_gate = None
        if objective.name == "all_tokens_mlm":
            self.copy_gate = nn.Linear(model.hidden_size, 1)
        set_initial_weights(self, list(self.networks().values()), model)

    def forward(
        self, batch: Batch, num_masked: int, num_tokens: int, backward: Backward | None = None
    ) -> PretrainOutput:
        """See Pretrainer.forward."""
        corruption = corrupt(self.generator, batch, self.objective, self.vocab_size)
        loss = self._generator_loss(corruption, num_masked, backward)
        hidden = encode(self.masked_lm, corruption.input_ids, batch)
        loss_sum, is_correct = self._restore(batch, corruption, hidden)
        num_words = num_masked if self.copy_gate is None else num_tokens
        loss = loss + self.objective.discriminator_loss_weight / num_words * loss_sum
        sums = corruption.sums._replace(
            word_loss=loss_sum.detach(),
            word_correct=is_correct.sum(),
            words=count(len(is_correct), loss_sum.device),
        )
        return PretrainOutput(loss, sums, None)

    def _restore(
        self, batch: Batch, corruption: Corruption, hidden: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Hidden states [T, H] -> the summed loss [], and which words are right [N] or [T]."""
        if self.copy_gate is None:
            targets = batch.input_ids[batch.masked_positions]
            output = predict_words(self.masked_lm, hidden[batch.masked_positions], targets)
            return output.loss_sum, output.is_correct
        head = self.masked_lm.generator_lm_head
        return copy_loss(
            self.masked_lm.generator_predictions(hidden),
            head.weight,
            head.bias,
            self.copy_gate(hidden).squeeze(1),
            corruption.input_ids,
            batch.input_ids,
        )
