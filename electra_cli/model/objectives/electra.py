"""What is trained: the networks of an objective, and its loss on a packed batch.

Here the objectives of replaced token detection; those that predict words are in
word_pretrainers.py, and build_pretrainer in objectives.py chooses.
"""

# Shapes: T tokens of a packed batch, J judged tokens, H hidden size.

from abc import abstractmethod
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional
from transformers import ElectraForPreTraining

from electra_cli.batch import Batch
from electra_cli.config import ModelConfig, ObjectiveConfig
from electra_cli.model.networks import (
    Network,
    build_electra_configs,
    build_generator,
    encode,
    set_initial_weights,
)
from electra_cli.model.objectives.corruption import Corruption, corrupt
from electra_cli.model.objectives.sums import Judgements, PretrainOutput, count

Backward = Callable[[Tensor], None]


class Pretrainer(nn.Module):
    """Hugging Face's models, trained together on packed batches.

    The main network, which users take away, comes first, so that shared tensors bear its names.
    """

    def __init__(self, objective: ObjectiveConfig, vocab_size: int) -> None:
        super().__init__()
        self.objective = objective
        self.vocab_size = vocab_size

    @abstractmethod
    def forward(
        self, batch: Batch, num_masked: int, num_tokens: int, backward: Backward | None = None
    ) -> PretrainOutput:
        """One micro-batch of a step that has num_masked slots and num_tokens tokens in all.

        All losses are means over the whole step, so the losses of its micro-batches add up.
        `backward` is called with a generator's loss before the main network runs, so that only
        one network's activations live at a time; the returned loss then carries the gradient of
        the rest alone.
        """

    def _generator_loss(
        self, corruption: Corruption, num_masked: int, backward: Backward | None
    ) -> Tensor:
        """The generator's part of the loss []; without gradient if `backward` has had it."""
        loss = self.objective.generator_loss_weight / num_masked * corruption.loss_sum
        if backward is None or not loss.requires_grad:
            return loss
        backward(loss)
        return loss.detach()

    def networks(self) -> dict[str, Network]:
        """The models by name, the main one first."""
        return {n: m for n, m in self.named_children() if isinstance(m, Network)}

    def enable_gradient_checkpointing(self) -> None:
        """Keep a layer's input alone, and compute the rest again in the backward pass."""
        for network in self.networks().values():
            network.activation_checkpointing_enable()

    def compile_encoders(self) -> None:
        """Compile the encoders, for any number of tokens; the names of weights stay."""
        for network in self.networks().values():
            network.electra.encoder.compile(dynamic=True)


class ElectraPretrainer(Pretrainer):
    """Generator and discriminator; `electra_masked_only` judges the masked positions alone."""

    def __init__(
        self, model: ModelConfig, objective: ObjectiveConfig, vocab_size: int, pad_id: int
    ) -> None:
        super().__init__(objective, vocab_size)
        generator_config, config = build_electra_configs(model, vocab_size, pad_id)
        self.discriminator = ElectraForPreTraining(config)
        self.generator = build_generator(generator_config, self.discriminator, model, objective)
        set_initial_weights(self, list(self.networks().values()), model)

    def forward(
        self, batch: Batch, num_masked: int, num_tokens: int, backward: Backward | None = None
    ) -> PretrainOutput:
        """See Pretrainer.forward."""
        corruption = corrupt(self.generator, batch, self.objective, self.vocab_size)
        loss = self._generator_loss(corruption, num_masked, backward)
        masked_only = self.objective.name == "electra_masked_only"
        positions = batch.masked_positions if masked_only else None
        is_replaced = corruption.is_replaced
        if positions is not None:
            is_replaced = is_replaced[positions]
        logits = self.discriminate(batch, corruption.input_ids, positions)
        rtd_loss = functional.binary_cross_entropy_with_logits(
            logits, is_replaced.float(), reduction="sum"
        )
        num_judged = num_masked if masked_only else num_tokens
        loss = loss + self.objective.discriminator_loss_weight / num_judged * rtd_loss

        is_flagged = logits.detach() > 0
        sums = corruption.sums._replace(
            rtd_loss=rtd_loss.detach(),
            rtd_correct=(is_flagged == is_replaced).sum(),
            rtd_found=(is_flagged & is_replaced).sum(),
            judged=count(len(logits), logits.device),
            rtd_flagged=is_flagged.sum(),
            rtd_replaced=is_replaced.sum(),
        )
        return PretrainOutput(loss, sums, Judgements(logits.detach(), is_replaced, positions))

    def discriminate(
        self, batch: Batch, input_ids: Tensor, positions: Tensor | None = None
    ) -> Tensor:
        """Logits [J] in float32, positive where a token looks replaced; positions None: all T."""
        hidden = encode(self.discriminator, input_ids, batch)
        if positions is not None:
            hidden = hidden[positions]
        logits: Tensor = self.discriminator.discriminator_predictions(hidden)
        return logits.float()
