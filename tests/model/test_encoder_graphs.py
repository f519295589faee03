"""Encoders as graphs, which are recorded and replayed on a CPU (tests/recorded_graphs.py)."""

import copy
from collections.abc import Iterator
from typing import get_args

import pytest
import torch
from conftest import VOCAB_SIZE, run_objective, tiny_config, tiny_reader
from recorded_graphs import graphs_on_cpu

from electra_cli.batch import Batch
from electra_cli.config import ObjectiveName
from electra_cli.data.batches import join_batches
from electra_cli.model.layers import attention
from electra_cli.model.objectives.objective import Objective, StepCounts
from electra_cli.model.objectives.registry import build_objective

WINDOWS, LENGTH = 6, 32


@pytest.fixture
def graphs(cpu_kernels, monkeypatch) -> Iterator[None]:
    monkeypatch.setattr(attention, "choose_kernel", lambda *_: "flash")
    with graphs_on_cpu():
        yield


def build(objective: str, dropout: float = 0.0) -> tuple[Objective, Objective]:
    """A model, and the same whose encoders are recorded."""
    rates = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    config = tiny_config(model=rates, objective={"name": objective})
    torch.manual_seed(0)
    plain = build_objective(config.model, config.objective, VOCAB_SIZE, pad_id=0).train()
    recorded = copy.deepcopy(plain)
    recorded.record_encoders(WINDOWS, LENGTH)
    return plain, recorded


def batches() -> list[Batch]:
    """Of many lengths: some with the same padded one, some with fewer windows than allowed."""
    windows = list(tiny_reader(tiny_config()).read(0, 0, 40).split(1))
    groups = (windows[:6], windows[6:12], windows[12:14], windows[14:20], windows[20:21])
    return [join_batches(group) for group in groups]


def losses_and_gradients(
    model: Objective, batch: Batch, is_one_by_one: bool = True
) -> tuple[list[float], torch.Tensor]:
    """Each network's backward pass before the next one's forward pass, as in training, or not."""
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad.zero_()
    losses = []
    counts = StepCounts(batch.num_masked, batch.num_tokens)
    for each in model.losses(batch, counts) if is_one_by_one else [*model.losses(batch, counts)]:
        each.loss.backward()
        losses.append(each.loss.item())
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    return losses, torch.cat([gradient.flatten().clone() for gradient in gradients])


def padded_sizes(model: Objective) -> list[set[int]]:
    """What each network's graphs were recorded for."""
    return [set(network.graphs._passes) for network in model.networks().values()]


@pytest.mark.parametrize("objective", get_args(ObjectiveName))
def test_graphs_give_the_losses_and_gradients_of_the_kernels(graphs, objective):
    plain, recorded = build(objective)
    for batch in batches():
        expected, wanted = losses_and_gradients(plain, batch)
        found, gradient = losses_and_gradients(recorded, batch)
        assert found == pytest.approx(expected, rel=1e-5)
        torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-6)
    for sizes in padded_sizes(recorded):
        assert sizes == {-(-batch.num_tokens // 64) * 64 for batch in batches()}


def test_a_second_forward_pass_before_the_backward_pass_leaves_the_first_ones_activations(graphs):
    plain, recorded = build("electra")
    batch = batches()[0]
    expected, wanted = losses_and_gradients(plain, batch, is_one_by_one=False)
    found, gradient = losses_and_gradients(recorded, batch, is_one_by_one=False)
    assert found == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-6)
    assert sorted(map(len, padded_sizes(recorded))) == [0, 1]  # the generator's alone


def test_micro_batches_add_up_and_changed_weights_are_used(graphs):
    plain, recorded = build("electra")
    for model in (plain, recorded):
        losses_and_gradients(model, batches()[0])
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.5)
    first, second = batches()[0], batches()[1]
    for model in (plain, recorded):
        losses_and_gradients(model, first)
        for each in model.losses(second, StepCounts(second.num_masked, second.num_tokens)):
            each.loss.backward()
    gradients = [
        torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        for model in (plain, recorded)
    ]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-6)


def test_what_is_not_trained_and_what_has_too_many_windows_runs_without(graphs):
    _, recorded = build("mlm")
    windows = list(tiny_reader(tiny_config()).read(0, 0, 2 * WINDOWS).split(1))
    losses_and_gradients(recorded, join_batches(windows))
    losses_and_gradients(recorded, join_batches(windows[: WINDOWS + 1]))
    with torch.no_grad():
        run_objective(recorded, batches()[0])
    recorded.eval()
    losses_and_gradients(recorded, batches()[0])
    assert padded_sizes(recorded) == [set()]
