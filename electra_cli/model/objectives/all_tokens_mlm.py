"""`all_tokens_mlm`: restore every word of the corrupted text, with a gate that may copy it.

A comparison of the paper's (Clark et al. 2020, section 3.4).
"""

# Shapes: T tokens of a packed batch, H hidden size.

from torch import Tensor, nn
from transformers import ElectraConfig

from electra_cli.batch import Batch
from electra_cli.config import ModelConfig
from electra_cli.model.copy_loss import copy_loss
from electra_cli.model.objectives.corruption import Corruption
from electra_cli.model.objectives.replace_mlm import ReplaceMLMObjective


class AllTokensMLMObjective(ReplaceMLMObjective):
    """Restores all words, not only those that a generator replaced."""

    reads_all_tokens = True

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

    @classmethod
    def _head_products(cls, model: ModelConfig, vocab_size: int) -> int:
        return super()._head_products(model, vocab_size) + model.hidden_size  # and the gate


OBJECTIVE = AllTokensMLMObjective
