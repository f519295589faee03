"""`all_tokens_mlm`: restore every word of the corrupted text, with a gate that may copy it.

A comparison of the paper's (Clark et al. 2020, section 3.4).
"""

# Shapes: T tokens of a packed batch, H hidden size.

from torch import Tensor, nn
from transformers import ElectraConfig

from electra_cli.batch import Batch
from electra_cli.config import ModelConfig, ObjectiveConfig
from electra_cli.model.copy_loss import copy_loss
from electra_cli.model.cost.flops import TrainingFlops, count_networks, word_head
from electra_cli.model.objectives.corruption import Corruption
from electra_cli.model.objectives.objective import StepCounts
from electra_cli.model.objectives.replace_mlm import ReplaceMLMObjective


class AllTokensMLMObjective(ReplaceMLMObjective):
    """Restores all words, not only those that a generator replaced."""

    def _build_networks(
        self, main: ElectraConfig, generator: ElectraConfig, model: ModelConfig
    ) -> None:
        super()._build_networks(main, generator, model)
        # Decides between copying a word and predicting one.
        self.copy_gate = nn.Linear(model.hidden_size, 1)

    def _restore(
        self, batch: Batch, corruption: Corruption, hidden: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Hidden states [T, H] -> the summed loss [], and which words are right [T]."""
        head = self.masked_lm.generator_lm_head
        return copy_loss(
            self.masked_lm.generator_predictions(hidden),
            head.weight,
            head.bias,
            self.copy_gate(hidden).squeeze(1),
            corruption.input_ids,
            batch.input_ids,
        )

    def _num_words(self, step: StepCounts) -> int:
        """Words that a whole step restores."""
        return step.num_tokens

    @classmethod
    def training_flops(
        cls, model: ModelConfig, objective: ObjectiveConfig, vocab_size: int
    ) -> TrainingFlops:
        """See Objective.training_flops."""
        head = word_head(model, vocab_size) + model.hidden_size  # and the gate
        return count_networks(model, objective, vocab_size, per_token=head)


OBJECTIVE = AllTokensMLMObjective
