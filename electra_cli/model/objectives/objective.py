"""What an objective is: networks trained together, and all that follows from their task.

An objective is a file of this folder, named as objective.name has it. It owns its losses, what it
counts, the metrics made of the counts, its FLOPs and the text of its model card.
"""

# Shapes: T tokens of a packed batch, J judged tokens.

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn
from transformers import ElectraConfig

from electra_cli.batch import Batch
from electra_cli.config import ModelConfig, ObjectiveConfig, OptimConfig, PretrainConfig
from electra_cli.metrics import Metrics
from electra_cli.model.cost.flops import (
    TrainingFlops,
    count_generator,
    count_main,
    judging_head,
    word_head,
)
from electra_cli.model.layer_rates import LayerRates
from electra_cli.model.layers.layer import compile_layers
from electra_cli.model.networks import (
    Network,
    adapt_to_packs,
    build_electra_configs,
    draw_weights,
    record_encoders,
)
from electra_cli.model.objectives.sums import MetricGroup, Sums

GENERATOR = "generator"  # its name among the networks


class StepCounts(NamedTuple):
    """Counts of a whole step, all micro-batches together, and its place in the run.

    Losses are means over the counts.
    """

    num_masked: int
    num_tokens: int
    number: int = 0  # steps completed before it
    num_steps: int = 1  # of the whole run

    def tokens_read(self, all_tokens: bool) -> int:
        """Tokens that a head reads: all of them, or the masked slots."""
        return self.num_tokens if all_tokens else self.num_masked


class Judgements(NamedTuple):
    """What the discriminator says of each token it judges."""

    logits: Tensor  # [J] without gradient, positive where a token looks replaced
    is_replaced: Tensor  # [J] bool
    positions: Tensor | None  # [J] indices into [T]; None: all T tokens


class NetworkLoss(NamedTuple):
    """One network's loss on a micro-batch, and what was counted."""

    loss: Tensor  # [] its share of what is minimised
    sums: Sums
    judgements: Judgements | None = None  # of a discriminator


class Ranking(NamedTuple):
    """Judgements of all held-out tokens, on the host."""

    logits: Tensor  # [J]
    is_replaced: Tensor  # [J] bool
    is_content: Tensor  # [J] bool, neither [CLS] nor [SEP]


class Trainable(nn.Module, ABC):
    """What training/trainer.py trains: it knows its losses, what they count, and its FLOPs."""

    flops: TrainingFlops
    keeps_gradients = False  # the gradients' tensors must stay the same from step to step

    @abstractmethod
    def losses(self, batch: Any, step: StepCounts) -> Iterator[NetworkLoss]:
        """The losses of one micro-batch, one network after another.

        The caller runs the backward pass of a loss before it asks for the next, so the activations
        of one network are freed before another runs. All losses are means over the whole step, so
        the losses of its micro-batches add up.
        """

    @abstractmethod
    def metrics(self, sums: Mapping[str, float]) -> Metrics:
        """Means of the sums of `losses` over some steps, which also hold `tokens` and `masked`.

        `loss` is what was minimised; `masked` counts the slots of the batches.
        """

    @classmethod
    def ranking_metrics(cls, ranking: Ranking) -> Metrics:
        """Metrics that need every held-out judgement, not only sums."""
        return {}

    def flops_at(self, step: int) -> TrainingFlops:
        """What the step after so many completed ones costs."""
        return self.flops

    def idle_parameters(self, step: int) -> Iterable[nn.Parameter]:
        """Those that the step after so many completed ones leaves as they are."""
        return ()

    def rate_factors(self, optim: OptimConfig) -> dict[nn.Parameter, float]:
        """By how much the learning rate of a parameter differs; 1 for those that are not named."""
        return {}


class Objective(Trainable):
    """Hugging Face's models, trained together on packed batches.

    The exported network is registered first, so shared weights are saved under its name.
    """

    main_network: ClassVar[str]  # the attribute of the network that users take away
    predicts_words: ClassVar[bool]  # whether that network has logits over the vocabulary
    reads_all_tokens: ClassVar[bool]  # whether its loss is over all tokens, or the masked slots
    metric_groups: ClassVar[tuple[MetricGroup, ...]]
    main_loss: ClassVar[str | None]  # the metric that is the main network's loss beside mlm_loss
    # Of the model cards, by network: what it is good for, with an example to run in its folder.
    uses: ClassVar[Mapping[str, str]]

    def __init__(
        self, model: ModelConfig, objective: ObjectiveConfig, vocab_size: int, pad_id: int
    ) -> None:
        super().__init__()
        self.objective = objective
        self.vocab_size = vocab_size
        self.flops = self.training_flops(model, objective, vocab_size)
        generator, main = build_electra_configs(model, vocab_size, pad_id)
        self._build_networks(main, generator, model)
        adapt_to_packs(self.networks().values())
        draw_weights(self, self.networks().values(), model)
        self._main_flops = self.main_flops(model, vocab_size)
        if objective.freezes_generator:
            self.networks()[GENERATOR].requires_grad_(False)

    @abstractmethod
    def _build_networks(
        self, main: ElectraConfig, generator: ElectraConfig, model: ModelConfig
    ) -> None:
        """Make the networks, the main one first, and tie what they share."""

    @abstractmethod
    def losses(self, batch: Batch, step: StepCounts) -> Iterator[NetworkLoss]:
        """The generator's loss first, where one is trained."""

    def metrics(self, sums: Mapping[str, float]) -> Metrics:
        """The metric groups, and the loss made of them."""
        own = {name: value for group in self.metric_groups for name, value in group(sums).items()}
        main_loss = own[self.main_loss] if self.main_loss else None
        weights = self.objective
        mlm_weight = 0.0 if weights.freezes_generator else weights.generator_loss_weight
        loss = mlm_weight * (own["mlm_loss"] or 0.0)
        return {"loss": loss + weights.discriminator_loss_weight * (main_loss or 0.0), **own}

    @classmethod
    def metric_names(cls) -> tuple[list[str], list[str]]:
        """All metrics: (of training steps, of held-out text)."""
        own = ["loss", *(name for group in cls.metric_groups for name in group({}))]
        nothing = torch.empty(0)
        ranking = Ranking(nothing, nothing.bool(), nothing.bool())
        return own, [*own, *cls.ranking_metrics(ranking)]

    @classmethod
    def training_flops(
        cls, model: ModelConfig, objective: ObjectiveConfig, vocab_size: int
    ) -> TrainingFlops:
        """Operations of all networks in a step that trains the main one."""
        main = cls.main_flops(model, vocab_size)
        return main + count_generator(model, objective, vocab_size)

    @classmethod
    def main_flops(cls, model: ModelConfig, vocab_size: int) -> TrainingFlops:
        """Forward and backward operations of the main network."""
        head = cls._head_products(model, vocab_size)
        return count_main(model, *((head, 0) if cls.reads_all_tokens else (0, head)))

    def flops_at(self, step: int) -> TrainingFlops:
        """Without the main network's while the generator trains alone."""
        is_alone = step < self.objective.steps_alone
        return self.flops - self._main_flops if is_alone else self.flops

    def trains_generator_alone(self, step: StepCounts) -> bool:
        """Whether the generator trains alone; held-out text is always read by both networks."""
        return self.training and step.number < self.objective.steps_alone

    def idle_parameters(self, step: int) -> Iterable[nn.Parameter]:
        """The main network's while the generator trains alone, shared ones among them.

        The losses of a generator that has learned nothing would spoil trained embeddings.
        """
        if step >= self.objective.steps_alone:
            return ()
        return self.networks()[self.main_network].parameters()

    def rate_factors(self, optim: OptimConfig) -> dict[nn.Parameter, float]:
        """Lower rates for the main network's lower layers."""
        if optim.layer_decay is None:
            return {}
        return LayerRates(optim.layer_decay).factors(self.networks()[self.main_network])

    def train(self, mode: bool = True) -> Self:
        """A frozen generator has no dropout: it stays the model that it was."""
        super().train(mode)
        if self.objective.freezes_generator:
            self.networks()[GENERATOR].train(mode=False)
        return self

    @classmethod
    def _head_products(cls, model: ModelConfig, vocab_size: int) -> int:
        """Multiply-adds of the main network's head for each token that it reads."""
        return word_head(model, vocab_size) if cls.predicts_words else judging_head(model)

    @classmethod
    def authors_flops(cls, config: PretrainConfig, vocab_size: int) -> float | None:
        """A whole run's FLOPs as the authors count them; None where they count no such run."""
        return None

    def networks(self) -> dict[str, Network]:
        """The models by name, the main one first."""
        return {n: m for n, m in self.named_children() if isinstance(m, Network)}

    def enable_gradient_checkpointing(self) -> None:
        """Keep a layer's input alone, and compute the rest again in the backward pass."""
        for network in self.networks().values():
            network.activation_checkpointing_enable()

    def record_encoders(self, num_windows: int, max_length: int) -> None:
        """Run the encoders as CUDA graphs in training, for micro-batches of so many windows."""
        self.keeps_gradients = True
        record_encoders(self.networks().values(), num_windows, max_length)

    def compile_encoders(self) -> None:
        """Compile the encoders' layers, for any number of tokens; the names of weights stay.

        Layer by layer: all layers of an encoder share one graph, which takes 12 times less long
        to compile than a graph of 12 layers. Nothing on a CPU, which computes otherwise.
        """
        # Graphs of earlier models of this process, such as a search's trials, count towards the
        # limit of 8 per function beyond which torch quietly stops compiling.
        torch.compiler.reset()
        compile_layers(self.networks().values())
