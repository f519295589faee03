"""Recorded steps of the authors' code as Batches, and the model they were recorded with."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from electra_cli.batch import Batch
from electra_cli.config import PretrainConfig
from electra_cli.model import masked_lm
from electra_cli.model.objectives.electra import ElectraObjective
from electra_cli.training.device import Compute
from electra_cli.training.trainer import Trainer

GOLDEN = Path(__file__).parent / "golden"
VOCAB_SIZE = 1000
CPU = Compute(torch.device("cpu"), "fp32", has_flash=False)


class GoldenSteps:
    """One file of tests/golden."""

    def __init__(self, name: str) -> None:
        self.arrays = dict(np.load(GOLDEN / name))

    def array(self, step: int, name: str) -> np.ndarray:
        return self.arrays[f"step{step}/{name}"]

    def value(self, step: int, name: str) -> float:
        return float(self.array(step, name))

    def parameters(self, snapshot: str) -> dict[str, torch.Tensor]:
        prefix = f"{snapshot}/"
        return {
            key.removeprefix(prefix): torch.from_numpy(value)
            for key, value in self.arrays.items()
            if key.startswith(prefix)
        }

    def batch(self, step: int) -> tuple[Batch, torch.Tensor]:
        """The recorded batch, packed, and the recorded sample of each masked slot."""
        is_real = self.array(step, "input_mask").astype(bool)
        lengths = is_real.sum(1)
        first = np.cumsum(lengths) - lengths
        row, slot = np.nonzero(self.array(step, "masked_lm_weights"))
        column = self.array(step, "masked_lm_positions")[row, slot]
        order = np.argsort(first[row] + column)
        row, slot, column = row[order], slot[order], column[order]
        batch = Batch(
            input_ids=torch.from_numpy(self.array(step, "input_ids")[is_real]).long(),
            token_type_ids=torch.from_numpy(self.array(step, "segment_ids")[is_real]).long(),
            position_ids=torch.from_numpy(np.concatenate([np.arange(n) for n in lengths])),
            cu_seqlens=torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32),
            masked_positions=torch.from_numpy(first[row] + column),
            masked_ids=torch.from_numpy(self.array(step, "masked_input_ids")[row, column]).long(),
            sample_noise=torch.zeros(len(row)),
            document_ids=torch.arange(len(lengths)),
            max_length=int(lengths.max()),
        )
        samples = self.array(step, "sampled_token_ids")[row, slot]
        return batch, torch.from_numpy(samples).long()


def golden_config(generator_weight: float = 1.0, discriminator_weight: float = 50.0):
    """The recorded recipe."""
    return PretrainConfig.model_validate(
        {
            "data": {"max_seq_length": 32},
            "model": {
                "num_hidden_layers": 3,
                "hidden_size": 64,
                "num_attention_heads": 4,
                "intermediate_size": 256,
                "embedding_size": 32,
                "max_position_embeddings": 64,
                "hidden_dropout_prob": 0,
                "attention_probs_dropout_prob": 0,
            },
            "objective": {
                "generator_loss_weight": generator_weight,
                "discriminator_loss_weight": discriminator_weight,
            },
            "optim": {"learning_rate": 5e-4, "num_warmup_steps": 4},
            "run": {"num_steps": 12, "batch_size": 6, "log_every": 1},
        }
    )


class GoldenModel(ElectraObjective):
    """The recorded generator has one head of 32, where ours would have two heads of 16."""

    def __init__(self, config: PretrainConfig) -> None:
        model = config.model.model_copy(update={"generator_width": 0.5})
        super().__init__(model, config.objective, VOCAB_SIZE, pad_id=0)
        self.generator.config.num_attention_heads = 1
        for layer in self.generator.electra.encoder.layer:
            attention = layer.attention.self
            attention.num_attention_heads = 1
            attention.attention_head_size = attention.all_head_size
            attention.scaling = attention.attention_head_size**-0.5


def golden_trainer(
    config: PretrainConfig, parameters: dict[str, torch.Tensor], compute: Compute = CPU
) -> Trainer:
    """The project's own trainer, from the recorded initial weights."""
    model = GoldenModel(config)
    own = dict(model.named_parameters())
    assert own.keys() == parameters.keys()
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(parameters[name])
    return Trainer(model, config, compute)


@contextmanager
def samples_given(samples: torch.Tensor) -> Iterator[None]:
    """The generator samples what was recorded, in order, whatever the micro-batches are."""
    rest = list(samples.split(1))

    def given(probabilities: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        return torch.cat([rest.pop(0) for _ in range(len(noise))]).to(noise.device)

    with mock.patch.object(masked_lm, "_sample", given):
        yield


def compare_step(
    trainer: Trainer, golden: GoldenSteps, step: int, batch: Batch | None = None
) -> dict[str, float]:
    """Take the recorded step; how far each of its numbers is off, relative to the recorded one."""
    recorded, samples = golden.batch(step)
    with samples_given(samples):
        trainer.train_step(iter([batch or recorded]))
    metrics = trainer.flush(0.0)
    found = {
        "mlm_loss": metrics.objective["mlm_loss"],
        "disc_loss": metrics.objective["rtd_loss"],
        "total_loss": metrics.loss,
        "learning_rate": metrics.learning_rate,
        "grad_norm": metrics.grad_norm,
    }
    expected = {name: golden.value(step, name) for name in found}
    return {n: abs(value - expected[n]) / (abs(expected[n]) or 1.0) for n, value in found.items()}
