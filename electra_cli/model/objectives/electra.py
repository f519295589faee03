"""`electra`: replaced token detection (Clark et al. 2020, section 2)."""

# Shapes: T tokens of a packed batch, J judged tokens.

from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor
from torch.nn import functional
from transformers import ElectraConfig, ElectraForPreTraining

from electra_cli.batch import Batch
from electra_cli.config import ModelConfig, PretrainConfig
from electra_cli.metrics import Metrics
from electra_cli.model.cost.flops import authors_training_flops
from electra_cli.model.networks import build_generator, encode
from electra_cli.model.objectives.corruption import GENERATOR_USE, corrupt, generator_loss
from electra_cli.model.objectives.objective import (
    Judgements,
    NetworkLoss,
    Objective,
    Ranking,
    StepCounts,
)
from electra_cli.model.objectives.sums import (
    area_under_curve,
    corruption_metrics,
    count,
    mlm_metrics,
    rtd_metrics,
)


class ElectraObjective(Objective):
    """A generator replaces tokens; the discriminator tells which."""

    main_network = "discriminator"
    predicts_words = False
    reads_all_tokens = True
    metric_groups = (mlm_metrics, corruption_metrics, rtd_metrics)
    main_loss = "rtd_loss"
    uses: ClassVar[dict[str, str]] = {
        "discriminator": """\
A text encoder for fine-tuning, and a detector of replaced tokens:

```python
from transformers import AutoModelForPreTraining, AutoTokenizer

folder = "."  # that of this file
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForPreTraining.from_pretrained(folder)
logits = model(**tokenizer("A sentence.", return_tensors="pt")).logits  # > 0: looks replaced
```
""",
        "generator": GENERATOR_USE,
    }

    def _build_networks(
        self, main: ElectraConfig, generator: ElectraConfig, model: ModelConfig
    ) -> None:
        self.discriminator = ElectraForPreTraining(main)
        self.generator = build_generator(generator, self.discriminator, model, self.objective)

    def losses(self, batch: Batch, step: StepCounts) -> Iterator[NetworkLoss]:
        """The generator's loss, then the discriminator's."""
        corruption = corrupt(self.generator, batch, self.objective, self.vocab_size, step)
        is_alone = self.trains_generator_alone(step)
        yield from generator_loss(corruption, self.objective, step, is_alone)
        if is_alone:
            return
        positions = None if self.reads_all_tokens else batch.masked_positions
        is_replaced = corruption.is_replaced
        if positions is not None:
            is_replaced = is_replaced[positions]
        logits = self.discriminate(batch, corruption.input_ids, positions)
        rtd_loss = functional.binary_cross_entropy_with_logits(
            logits, is_replaced.float(), reduction="sum"
        )
        num_judged = step.tokens_read(self.reads_all_tokens)
        is_flagged = logits.detach() > 0
        sums = {
            **corruption.sums,
            "rtd_loss": rtd_loss.detach(),  # over all judged tokens
            "rtd_correct": (is_flagged == is_replaced).sum(),  # tokens judged rightly
            "rtd_found": (is_flagged & is_replaced).sum(),  # replaced tokens judged replaced
            "rtd_flagged": is_flagged.sum(),  # tokens judged replaced
            "rtd_replaced": is_replaced.sum(),  # judged tokens that are replaced
            "judged": count(len(logits), logits.device),
        }
        yield NetworkLoss(
            self.objective.discriminator_loss_weight / num_judged * rtd_loss,
            sums,
            Judgements(logits.detach(), is_replaced, positions),
        )

    def discriminate(
        self, batch: Batch, input_ids: Tensor, positions: Tensor | None = None
    ) -> Tensor:
        """Logits [J] in float32, positive where a token looks replaced; positions None: all T."""
        hidden = encode(self.discriminator, input_ids, batch)
        if positions is not None:
            hidden = hidden[positions]
        logits: Tensor = self.discriminator.discriminator_predictions(hidden)
        return logits.float()

    @classmethod
    def ranking_metrics(cls, ranking: Ranking) -> Metrics:
        """The area under the ROC curve, over all tokens and without [CLS] and [SEP].

        Those are never replaced: free true negatives that raise rtd_auc the more, the shorter the
        windows are (a discriminator that knows nothing else has 0.55 with windows of 32 tokens).
        """
        content = ranking.is_content
        return {
            "rtd_auc": area_under_curve(ranking.logits, ranking.is_replaced),
            "rtd_content_auc": area_under_curve(
                ranking.logits[content], ranking.is_replaced[content]
            ),
        }

    @classmethod
    def authors_flops(cls, config: PretrainConfig, vocab_size: int) -> float | None:
        """See Objective.authors_flops."""
        is_theirs = config.objective.trains_generator and not config.objective.steps_alone
        if not cls.reads_all_tokens or not is_theirs:
            return None
        return authors_training_flops(config, vocab_size)


OBJECTIVE = ElectraObjective
