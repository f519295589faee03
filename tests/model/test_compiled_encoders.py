"""What a GPU's attention compiles to: traced by torch.compile as ever, run without inductor."""

import copy
from functools import partial

import pytest
import torch
from conftest import VOCAB_SIZE, run_objective, tiny_config, tiny_reader
from torch._dynamo.utils import counters

from electra_cli.batch import Batch
from electra_cli.data.batches import join_batches
from electra_cli.model.layers import attention
from electra_cli.model.objectives.objective import Objective
from electra_cli.model.objectives.registry import build_objective


def many_lengths() -> list[Batch]:
    windows = list(tiny_reader(tiny_config()).read(0, 0, 60).split(1))
    full = [w for w in windows if w.num_tokens == 32]
    short = [w for w in windows if w.num_tokens < 32]
    groups = (windows[:6], windows[6:15], short[:3], short[3:5], short[:1], full[:3], full[:1])
    return [join_batches(group) for group in groups]


def loss_and_gradient(model: Objective, batch: Batch) -> tuple[float, torch.Tensor]:
    model.zero_grad()
    loss = run_objective(model, batch).loss
    if torch.is_grad_enabled():
        loss.backward()
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return loss.item(), torch.cat([torch.zeros(1), *gradients])


@pytest.mark.slow
def test_two_networks_are_two_graphs_each_whatever_the_lengths(cpu_kernels, monkeypatch):
    """One for training, one for evaluation; beyond 8 torch would quietly stop compiling."""
    monkeypatch.setattr(attention, "choose_kernel", lambda *_: "flash")
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = tiny_config(model={"num_hidden_layers": 3, **no_dropout})
    torch.manual_seed(0)
    eager = build_objective(config.model, config.objective, VOCAB_SIZE, pad_id=0)
    compiled = copy.deepcopy(eager)
    compiled.compile_encoders()
    torch._dynamo.reset()
    counters.clear()
    for is_training in (True, False):
        for model in (eager, compiled):
            model.train(is_training)
        with torch.set_grad_enabled(is_training):
            for batch in many_lengths():
                found, gradient = loss_and_gradient(compiled, batch)
                expected, expected_gradient = loss_and_gradient(eager, batch)
                assert found == pytest.approx(expected)
                torch.testing.assert_close(gradient, expected_gradient)
    assert counters["stats"]["unique_graphs"] == 2 * 2
    assert not counters["graph_break"]
