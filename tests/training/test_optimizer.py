import pytest
import torch
from torch import nn

from electra_cli.config import OptimConfig
from electra_cli.training.optimizer import build_optimizer, is_decayed, learning_rate_at

SMALL = OptimConfig(learning_rate=5e-4, num_warmup_steps=10_000)


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0.0),
        (5_000, 2.4875e-4),
        (10_000, 4.95e-4),
        (500_000, 2.5e-4),
        (999_999, 5e-10),
    ],
)
def test_learning_rate_matches_the_official_schedule(step, rate):
    assert learning_rate_at(step, SMALL, 1_000_000) == pytest.approx(rate, rel=1e-9)


def test_a_run_without_warm_up_begins_at_the_peak():
    assert learning_rate_at(0, OptimConfig(num_warmup_steps=0), 10) == 2e-4


@pytest.mark.parametrize("step", [-1, 10])
def test_a_step_outside_the_run_is_a_bug(step):
    with pytest.raises(ValueError, match="outside"):
        learning_rate_at(step, SMALL, 10)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 3)
        self.LayerNorm = nn.LayerNorm(3)
        self.dense = nn.Linear(3, 7)
        self.dense.weight = self.embedding.weight  # tied, as the generator's head


def test_the_update_is_the_authors_in_slow_obvious_code():
    torch.manual_seed(0)
    model = Small()
    optim = OptimConfig(learning_rate=1e-2, weight_decay=0.1)
    expected = {name: p.detach().double().clone() for name, p in model.named_parameters()}
    first = {name: torch.zeros_like(value) for name, value in expected.items()}
    second = {name: torch.zeros_like(value) for name, value in expected.items()}
    optimizer = build_optimizer(model, optim)
    for step in range(5):
        rate = 1e-2 * (step + 1)
        for name, parameter in model.named_parameters():
            gradient = torch.randn(parameter.shape)
            parameter.grad = gradient.clone()
            # optimization.py:119-133: no bias correction; decay beside the update.
            first[name] = 0.9 * first[name] + 0.1 * gradient.double()
            second[name] = 0.999 * second[name] + 0.001 * gradient.double() ** 2
            update = first[name] / (second[name].sqrt() + 1e-6)
            if is_decayed(name):
                update = update + 0.1 * expected[name]
            expected[name] = expected[name] - rate * update
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.double(), expected[name], rtol=1e-5, atol=1e-6)


def test_each_tensor_is_updated_once_and_only_biases_and_layer_norms_are_not_decayed():
    model = Small()
    optimizer = build_optimizer(model, OptimConfig())
    decayed, plain = optimizer.param_groups
    assert [p.shape for p in decayed["params"]] == [(7, 3)]  # the tied matrix, once
    assert decayed["weight_decay"] == 0.01
    assert len(plain["params"]) == 3
    assert plain["weight_decay"] == 0.0
