"""The authors' TensorFlow numbers, step by step, through the project's own trainer."""

from collections.abc import Iterator

import pytest
import torch
from golden_steps import (
    GoldenSteps,
    compare_step,
    golden_config,
    golden_trainer,
    samples_given,
)
from torch.nn import functional

from electra_cli.batch import Batch
from electra_cli.data.batches import join_batches
from electra_cli.model.objectives.electra import ElectraObjective
from electra_cli.model.objectives.objective import Judgements, NetworkLoss, StepCounts

# What no compared metric is made of.
UNUSED_SUMS = (
    "mlm_masked_loss", "mlm_correct", "sampled_correct", "shown_masks", "replaced", "rtd_correct",
    "rtd_found", "rtd_flagged", "rtd_replaced",
)  # fmt: skip


class PaddedReference:
    """The slow, obvious step: Hugging Face's modules on padded input, torch's own losses."""

    def __init__(self, model: ElectraObjective, samples: torch.Tensor) -> None:
        self._model = model
        self._samples = samples
        for each in (model.generator, model.discriminator):
            each.config._attn_implementation = "eager"

    def __call__(self, batch: Batch, step: StepCounts) -> Iterator[NetworkLoss]:
        lengths = batch.cu_seqlens.diff().tolist()
        row, column = torch.nonzero(
            torch.arange(max(lengths)) < torch.tensor(lengths)[:, None], as_tuple=True
        )

        def pad(tensor: torch.Tensor) -> torch.Tensor:
            padded = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
            padded[row, column] = tensor
            return padded

        shared = {
            "token_type_ids": pad(batch.token_type_ids),
            "attention_mask": pad(torch.ones_like(batch.input_ids)),
        }
        masked = batch.input_ids.clone()
        masked[batch.masked_positions] = batch.masked_ids
        logits = self._model.generator(input_ids=pad(masked), **shared).logits[row, column]
        original = batch.input_ids[batch.masked_positions]
        mlm_loss = functional.cross_entropy(logits[batch.masked_positions], original)
        corrupted = batch.input_ids.clone()
        corrupted[batch.masked_positions] = self._samples
        is_replaced = corrupted != batch.input_ids
        scores = self._model.discriminator(input_ids=pad(corrupted), **shared).logits[row, column]
        rtd_loss = functional.binary_cross_entropy_with_logits(scores, is_replaced.float())
        objective = self._model.objective
        loss = objective.generator_loss_weight * mlm_loss
        loss = loss + objective.discriminator_loss_weight * rtd_loss
        nothing = torch.zeros(())
        sums = {
            "mlm_loss": mlm_loss.detach() * step.num_masked,
            "predicted": torch.tensor(step.num_masked),
            "rtd_loss": rtd_loss.detach() * step.num_tokens,
            "judged": torch.tensor(step.num_tokens),
            **dict.fromkeys(UNUSED_SUMS, nothing),
        }
        yield NetworkLoss(loss, sums, Judgements(scores.detach(), is_replaced, None))


class InFour(Batch):
    """Six windows as four micro-batches of 2, 2, 1 and 1."""

    def split(self, num_sequences: int) -> Iterator[Batch]:
        parts = list(super().split(1))
        yield from (join_batches(parts[:2]), join_batches(parts[2:4]), *parts[4:])


def run_steps(
    monkeypatch: pytest.MonkeyPatch,
    golden: GoldenSteps,
    config,
    num_steps: int,
    initial: GoldenSteps,
    mode: str,
) -> dict[str, torch.Tensor]:
    if mode == "micro1":
        run = config.run.model_copy(update={"micro_batch_size": 1})
        config = config.model_copy(update={"run": run})
    trainer = golden_trainer(config, initial.parameters("params/init"))
    for step in range(1, num_steps + 1):
        batch, samples = golden.batch(step)
        if mode == "four":
            batch = InFour(**vars(batch))
        if mode == "padded":
            reference = PaddedReference(trainer.model, samples)
            monkeypatch.setattr(trainer.model, "losses", reference)
        for name, difference in compare_step(trainer, golden, step, batch).items():
            print(f"{mode} step {step} {name} off by {difference:.1e}")
            tolerance = 1e-5 if name == "grad_norm" else 2e-6
            assert difference <= tolerance, (step, name)
    return {name: p.detach() for name, p in trainer.model.named_parameters()}


def largest_difference(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    assert found.keys() == expected.keys()
    return max((found[name] - expected[name]).abs().max().item() for name in expected)


@pytest.mark.parametrize("mode", ["packed", "four", "micro1", "padded"])
def test_eight_steps_equal_the_authors(monkeypatch, mode):
    golden = GoldenSteps("authors_steps.npz")
    weights = run_steps(monkeypatch, golden, golden_config(), 8, golden, mode)
    difference = largest_difference(weights, golden.parameters("params/after8"))
    print(f"{mode} weights off by {difference:.1e}")
    assert difference <= 2e-6


@pytest.mark.parametrize("mode", ["packed", "four", "micro1", "padded"])
def test_four_unclipped_steps_equal_the_authors(monkeypatch, mode):
    golden = GoldenSteps("authors_unclipped_steps.npz")
    config = golden_config(generator_weight=0.02, discriminator_weight=0.05)
    initial = GoldenSteps("authors_steps.npz")
    weights = run_steps(monkeypatch, golden, config, 4, initial, mode)
    difference = largest_difference(weights, golden.parameters("params/after4"))
    print(f"{mode} weights off by {difference:.1e}")
    assert difference <= 2e-6


@pytest.mark.parametrize("mode", ["packed", "micro1", "padded"])
def test_a_sampled_pad_has_a_gradient_as_the_authors(monkeypatch, mode):
    golden = GoldenSteps("authors_pad_sample_step.npz")
    batch, samples = golden.batch(1)
    assert (samples == 0).sum() == 3
    initial = GoldenSteps("authors_steps.npz")
    config = golden_config()
    if mode == "micro1":
        run = config.run.model_copy(update={"micro_batch_size": 1})
        config = config.model_copy(update={"run": run})
    trainer = golden_trainer(config, initial.parameters("params/init"))
    if mode == "padded":
        monkeypatch.setattr(trainer.model, "losses", PaddedReference(trainer.model, samples))
    with samples_given(samples):
        trainer.train_step(iter([batch]))
    moments = trainer.tensors()["optimizer"]
    expected = golden.parameters("m/after1")
    assert len(expected) == 4
    for name, moment in expected.items():
        assert (moments[f"exp_avg.{name}"] - moment).abs().max() <= 2e-6, name
    words = expected["discriminator.electra.embeddings.word_embeddings.weight"]
    assert words[0].abs().max() > 1e-5  # row 0 is [PAD]


def test_betas_rounded_to_float32_are_what_a_gpu_is_off_by():
    """torch's fused AdamW keeps them so on a GPU: what an H200 was off by, step by step."""
    golden = GoldenSteps("authors_steps.npz")
    config = golden_config()
    rounded = {
        name: torch.tensor(getattr(config.optim, name), dtype=torch.float32).item()
        for name in ("adam_beta1", "adam_beta2")
    }
    config = config.model_copy(update={"optim": config.optim.model_copy(update=rounded)})
    trainer = golden_trainer(config, golden.parameters("params/init"))
    found = [compare_step(trainer, golden, step)["grad_norm"] for step in range(1, 9)]
    on_an_h200 = [8.1e-8, 0.0, 4.6e-6, 9.2e-6, 2.0e-5, 8.5e-6, 5.9e-5, 1.4e-5]
    assert found == pytest.approx(on_an_h200, abs=2e-6)
