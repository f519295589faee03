"""`mlm`: a masked language model of the discriminator's size, the baseline."""

from collections.abc import Iterator
from typing import ClassVar

from transformers import ElectraConfig, ElectraForMaskedLM

from electra_cli.batch import Batch
from electra_cli.config import ModelConfig
from electra_cli.model.objectives.corruption import MASKED_LM_USE, predict_masked
from electra_cli.model.objectives.objective import NetworkLoss, Objective, StepCounts
from electra_cli.model.objectives.sums import mlm_metrics


class MaskedLMObjective(Objective):
    """One network, which predicts what [MASK] hides."""

    main_network = "masked_lm"
    predicts_words = True
    reads_all_tokens = False
    metric_groups = (mlm_metrics,)
    main_loss = None
    uses: ClassVar[dict[str, str]] = {"masked_lm": MASKED_LM_USE}

    def _build_networks(
        self, main: ElectraConfig, generator: ElectraConfig, model: ModelConfig
    ) -> None:
        self.masked_lm = ElectraForMaskedLM(main)

    def losses(self, batch: Batch, step: StepCounts) -> Iterator[NetworkLoss]:
        """The loss of the one network."""
        output, sums = predict_masked(self.masked_lm, batch, self.objective, temperature=1.0)
        loss = self.objective.generator_loss_weight / step.num_masked * output.loss_sum
        yield NetworkLoss(loss, sums)


OBJECTIVE = MaskedLMObjective
