"""Layer rates, schedule, head and losses against the published formulas, worked by hand."""

import copy
import math

import numpy as np
import pytest
import torch
from tiny_tasks import random_windows, tiny_encoder
from torch.nn import functional
from transformers import ElectraForSequenceClassification

from electra_cli.batch import LabelledBatch
from electra_cli.config import OptimConfig, PretrainConfig, RunConfig
from electra_cli.finetuning.batches import FinetuneBatches
from electra_cli.finetuning.inputs import Window
from electra_cli.finetuning.recipe import Recipe
from electra_cli.finetuning.settings import FinetuneConfig
from electra_cli.finetuning.tasks.sequence import Classify
from electra_cli.finetuning.tasks.tag import Tag
from electra_cli.model.export import padded_inputs
from electra_cli.model.finetune_model import FinetuneModel, packed_logits
from electra_cli.model.heads import HeadSpec, as_exported, build_network
from electra_cli.model.layer_rates import LayerRates
from electra_cli.training.device import Compute
from electra_cli.training.optimizer import learning_rate_at
from electra_cli.training.run_state import BatchesState
from electra_cli.training.trainer import Trainer

CPU = Compute(torch.device("cpu"), "fp32", has_flash=False)
CLASSES = ("a", "b", "c")
SPEC = HeadSpec("sequence", CLASSES, "single_label_classification")
STEPS, BATCH = 20, 8


# google-research/electra, optimization.py:181-193, for L layers and decay d: the head has factor 1,
# the last layer d^2, the first d^(L + 1), the embeddings d^(L + 2).
@pytest.mark.parametrize(
    ("layers", "decay", "expected"),
    [
        (12, 0.8, (1, 0.64, 0.0549755814, 0.0439804651)),
        (24, 0.9, (1, 0.81, 0.0717897988, 0.0646108189)),
    ],
)
def test_layer_rates_are_the_published_ones(layers, decay, expected):
    rates = LayerRates(decay)
    found = [rates.factor(depth, layers) for depth in (layers + 2, layers, 1, 0)]
    assert found == pytest.approx(expected, rel=1e-8)


def test_the_papers_rates_begin_one_power_lower():
    rates = LayerRates(0.8, "paper")
    assert [rates.factor(depth, 12) for depth in (14, 12, 1, 0)] == pytest.approx(
        [1, 0.8, 0.8**12, 0.8**13]
    )


def test_every_weight_has_the_rate_of_its_layer():
    network = build_network(tiny_encoder(), SPEC, seed=0, is_trained=True)
    factors = LayerRates(0.5).factors(network)
    found = {name: factors[p] for name, p in network.named_parameters()}
    assert found["classifier.linear.weight"] == 1
    assert found["electra.encoder.layer.1.output.dense.bias"] == 0.5**2
    assert found["electra.encoder.layer.0.attention.self.query.weight"] == 0.5**3
    for name in ("embeddings.word_embeddings.weight", "embeddings.LayerNorm.bias"):
        assert found[f"electra.{name}"] == 0.5**4
    assert found["electra.embeddings_project.weight"] == 0.5**4
    assert len(found) == len(factors)


# Windows of each of the paper's small tasks, its epochs for them, and its steps.
@pytest.mark.parametrize(
    ("windows", "epochs", "steps"), [(2_490, 10, 780), (2 * 3_668, 3, 690), (8_551, 3, 804)]
)
def test_the_papers_tasks_have_the_papers_steps(windows, epochs, steps):
    recipe = Recipe(FinetuneConfig(), float(epochs), 3e-4, 0.8, 128).with_enough_steps(windows)
    assert (recipe.epochs, recipe.num_steps(windows)) == (epochs, steps)


@pytest.mark.parametrize(
    ("windows", "given", "epochs", "steps"),
    [(1_000, None, 18.8, 601), (2_000, None, 9.5, 598), (100, None, 20, 80), (1_000, 3.0, 3, 96)],
)
def test_few_examples_have_more_epochs_unless_they_are_given(windows, given, epochs, steps):
    recipe = Recipe(FinetuneConfig(epochs=given), given or 3.0, 3e-4, 0.8, 128)
    recipe = recipe.with_enough_steps(windows)
    assert (recipe.epochs, recipe.num_steps(windows)) == (epochs, steps)


def test_the_rate_warms_up_while_it_falls():
    """Peak x (1 - s / S) x min(1, s / (0.1 S)): update 1 has rate 0, the true peak is 0.9 of it."""
    optim = OptimConfig(learning_rate=3e-4, num_warmup_steps=10)
    rates = [learning_rate_at(step, optim, 100) for step in range(100)]
    assert rates[0] == 0
    assert rates[5] == pytest.approx(3e-4 * 0.95 * 0.5)
    assert max(rates) == rates[10] == pytest.approx(2.7e-4)
    assert rates[99] == pytest.approx(3e-4 * 0.01)


def test_the_head_is_one_linear_layer_on_the_first_token():
    network = build_network(tiny_encoder(), SPEC, seed=0, is_trained=True).eval()
    features = torch.randn(5, 7, 32)
    linear = network.classifier.linear
    torch.testing.assert_close(network.classifier(features), features[:, 0] @ linear.weight.T)
    assert not linear.bias.any()
    bound = math.sqrt(6 / (32 + 3))  # Glorot uniform
    assert linear.weight.abs().max() <= bound
    assert linear.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.2)


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (5.0, -2.0)])
def test_the_head_fits_exactly_into_hugging_faces_class(scale, shift):
    network = build_network(tiny_encoder(), SPEC, seed=0, is_trained=True).eval()
    torch.nn.init.normal_(network.classifier.linear.bias)
    model = FinetuneModel(network, "sequence", Classify().losses, LayerRates(1.0)).eval()
    exported = as_exported(network, "sequence", scale, shift)
    assert type(exported) is ElectraForSequenceClassification
    batch = make_batches(seed=3)[0]
    with torch.no_grad():
        expected = packed_logits(model.network, "sequence", batch) * scale + shift
        found = exported(**padded_inputs(exported, batch)).logits
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_head_too_wide_for_that_is_hugging_faces_own():
    spec = HeadSpec("sequence", tuple(map(str, range(17))), "single_label_classification")
    network = build_network(tiny_encoder(), spec, seed=0, is_trained=True)
    assert network.classifier.out_proj.weight.shape == (17, 32)
    as_exported(network, "sequence").load_state_dict(network.state_dict())


def make_windows(count: int, seed: int) -> tuple[list[Window], list[np.ndarray]]:
    draw = np.random.default_rng(seed)
    windows = random_windows(count, seed)
    return windows, [draw.integers(0, 3, size=1) for _ in windows]


def make_batches(seed: int) -> list[LabelledBatch]:
    windows, targets = make_windows(50, seed)
    source = FinetuneBatches(windows, targets, BATCH, seed=1, state=BatchesState())
    return [next(source) for _ in range(STEPS)]


def adam_without_correction(network, moments, rates, clip: float) -> None:
    """optimization.py:119-133, written out."""
    parameters = [p for p in network.parameters() if p.grad is not None]
    norm = torch.sqrt(sum((p.grad**2).sum() for p in parameters))
    for name, p in network.named_parameters():
        gradient = p.grad * min(1.0, clip / float(norm))
        first, second = moments.setdefault(name, (torch.zeros_like(p), torch.zeros_like(p)))
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        moments[name] = (first, second)
        p.data -= rates[name] * first / (second.sqrt() + 1e-6)


def test_packed_training_has_the_losses_of_padded_hugging_face_training():
    """20 steps with layer rates, warm-up and clipping; the reference pads and is plain torch."""
    packed = build_network(tiny_encoder(), SPEC, seed=0, is_trained=True)
    padded = copy.deepcopy(packed)  # transformers' own modules, before they are adapted
    config = PretrainConfig(
        optim=OptimConfig(learning_rate=3e-3, num_warmup_steps=2, weight_decay=0),
        run=RunConfig(num_steps=STEPS, batch_size=BATCH, micro_batch_size=4),
    )
    model = FinetuneModel(packed, "sequence", Classify().losses, LayerRates(0.8))
    trainer = Trainer(model, config, CPU)
    batches = make_batches(seed=0)
    found = []
    for _, batch in zip(range(STEPS), batches, strict=True):
        trainer.train_step(iter([batch]))
        found.append(trainer.flush(0.0).loss)
    expected, moments = [], {}
    for step, batch in enumerate(batches):
        padded.zero_grad()
        loss = functional.cross_entropy(
            padded(**padded_inputs(padded, batch)).logits, batch.targets
        )
        loss.backward()
        expected.append(loss.item())
        rate = 3e-3 * (1 - step / STEPS) * min(1, step / 2)
        factors = LayerRates(0.8).factors(padded)
        rates = {name: rate * factors[p] for name, p in padded.named_parameters()}
        adam_without_correction(padded, moments, rates, clip=1.0)
    assert expected[-1] != pytest.approx(expected[0], abs=1e-3)  # it learned
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=0, atol=1e-5)


def test_tagging_means_over_the_words_of_a_whole_step():
    """Two micro-batches of unequal numbers of words have the loss of one."""
    spec = HeadSpec("token", CLASSES)
    windows, _ = make_windows(6, seed=5)
    draw = np.random.default_rng(0)
    windows = [w._replace(slots=list(range(1, len(w.ids) - 1))) for w in windows]
    targets = [draw.integers(0, 3, size=len(w.slots)) for w in windows]
    losses = []
    for micro in (6, 2):
        network = build_network(tiny_encoder(), spec, seed=0, is_trained=True)
        model = FinetuneModel(network, "token", Tag().losses, LayerRates(1.0))
        run = RunConfig(num_steps=2, batch_size=6, micro_batch_size=micro)
        trainer = Trainer(model, PretrainConfig(run=run), CPU)
        trainer.train_step(FinetuneBatches(windows, targets, 6, 0, BatchesState()))
        losses.append(trainer.flush(0.0).loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
