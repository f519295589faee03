"""The paper's recipe: what follows from the encoder's size and the task where nothing is set.

Rates and decay: google-research/electra, configure_finetuning.py:54-56, :149-156 (large), and the
paper's appendix B for small and base (3e-4 and 1e-4; the code leaves 1e-4 for small).
"""

import math
from dataclasses import dataclass, replace

from electra_cli.config import OptimConfig, PretrainConfig, RunConfig
from electra_cli.errors import ConfigError
from electra_cli.finetuning.encoders import Encoder
from electra_cli.finetuning.settings import FinetuneConfig
from electra_cli.finetuning.tasks.task import Task
from electra_cli.model.heads import HeadSpec
from electra_cli.model.layer_rates import LayerRates

# (widest encoder, peak rate, layer decay) of small, base and large.
_SIZES = ((512, 3e-4, 0.8), (768, 1e-4, 0.8), (math.inf, 5e-5, 0.9))
# Few examples need more passes than the paper's 3 (docs/study.md), but 20 are enough for a thousand
# (Mosbach et al. 2021). All of the paper's tasks have more steps than these by its own epochs.
_FEWEST_STEPS, _MOST_EPOCHS = 600, 20.0


@dataclass(frozen=True)
class Recipe:
    """What one encoder is fine-tuned with."""

    config: FinetuneConfig
    epochs: float
    learning_rate: float
    layer_decay: float
    max_seq_length: int

    @property
    def layer_rates(self) -> LayerRates:
        """The rate of each layer."""
        return LayerRates(self.layer_decay, self.config.layer_rates)

    def with_enough_steps(self, num_windows: int) -> "Recipe":
        """More epochs where there are few windows, unless the settings say how many."""
        if self.config.epochs is not None:
            return self
        enough = _FEWEST_STEPS / math.ceil(num_windows / self.config.batch_size)
        return replace(self, epochs=max(self.epochs, min(_MOST_EPOCHS, round(enough, 1))))

    def num_steps(self, num_windows: int) -> int:
        """Whole batches per epoch, times the epochs (run_finetuning.py:88)."""
        return max(1, int(math.ceil(num_windows / self.config.batch_size) * self.epochs))

    def training(self, num_windows: int) -> PretrainConfig:
        """Steps, schedule and optimizer as a Trainer takes them."""
        config, steps = self.config, self.num_steps(num_windows)
        return PretrainConfig(
            optim=OptimConfig(
                learning_rate=self.learning_rate,
                num_warmup_steps=int(config.warmup_fraction * steps),
                weight_decay=config.weight_decay,
                max_grad_norm=config.max_grad_norm,
            ),
            run=RunConfig(
                num_steps=steps,
                batch_size=config.batch_size,
                micro_batch_size=config.micro_batch_size,
            ),
        )

    def head(self, task: Task) -> HeadSpec:
        """What the task asks of the network."""
        return HeadSpec(
            kind=task.kind,
            label_names=task.label_names,
            problem_type=task.problem_type,
            head_dropout=self.config.head_dropout if task.has_head_dropout else 0.0,
            dropout=self.config.dropout,
        )


def recipe_of(config: FinetuneConfig, task: Task, encoder: Encoder) -> Recipe:
    """Fill in what is not set. Raises ConfigError for inputs longer than the encoder reads."""
    rate, decay = next((r, d) for width, r, d in _SIZES if encoder.weights.width <= width)
    longest = encoder.weights.max_length
    if config.max_seq_length is not None and config.max_seq_length > longest:
        raise ConfigError(
            f"finetune.max_seq_length {config.max_seq_length} is longer than the {longest} "
            f"positions of {encoder.name}",
            hint=f"--max-seq-length {longest}, or less",
        )
    return Recipe(
        config=config,
        epochs=config.epochs or task.epochs,
        learning_rate=config.learning_rate or rate,
        layer_decay=config.layer_decay or decay,
        max_seq_length=config.max_seq_length or min(task.max_seq_length, longest),
    )
