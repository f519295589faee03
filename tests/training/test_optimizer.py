import pytest
import torch
from conftest import VOCAB_SIZE, tiny_config
from torch import nn
from transformers import EuroBertConfig, EuroBertModel, ModernBertConfig, ModernBertModel

from electra_cli.config import OptimConfig
from electra_cli.model.objectives.registry import build_objective
from electra_cli.training.optimizer import build_optimizer, decayed_parameters, learning_rate_at

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


@pytest.mark.parametrize("beta2", [0.999, 1 - 1e-9])
def test_the_update_is_the_authors_in_slow_obvious_code(beta2):
    torch.manual_seed(0)
    model = Small()
    optim = OptimConfig(learning_rate=1e-2, weight_decay=0.1, adam_beta2=beta2)
    expected = {name: p.detach().double().clone() for name, p in model.named_parameters()}
    first = {name: torch.zeros_like(value) for name, value in expected.items()}
    second = {name: torch.zeros_like(value) for name, value in expected.items()}
    decayed = decayed_parameters(model)
    optimizer = build_optimizer(model, optim)
    for step in range(5):
        rate = 1e-2 * (step + 1)
        for name, parameter in model.named_parameters():
            gradient = torch.randn(parameter.shape)
            parameter.grad = gradient.clone()
            # optimization.py:119-133: no bias correction; decay beside the update.
            first[name] = 0.9 * first[name] + 0.1 * gradient.double()
            second[name] = beta2 * second[name] + (1 - beta2) * gradient.double() ** 2
            update = first[name] / (second[name].sqrt() + 1e-6)
            if parameter in decayed:
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


@pytest.mark.parametrize("name", ["electra", "mlm", "replace_mlm", "all_tokens_mlm"])
def test_the_groups_of_electra_are_those_of_its_names_in_their_order(name):
    """The authors choose by name: all but biases and what is called LayerNorm."""
    config = tiny_config(objective={"name": name})
    model = build_objective(config.model, config.objective, VOCAB_SIZE, pad_id=0)
    named = dict(model.named_parameters())
    plain = [n for n in named if n.endswith("bias") or "LayerNorm" in n]
    decayed = [n for n in named if n not in plain]
    name_of = {parameter: n for n, parameter in named.items()}
    groups = build_optimizer(model, OptimConfig()).param_groups
    assert [[name_of[p] for p in group["params"]] for group in groups] == [decayed, plain]
    assert decayed and plain


SIZES = {
    "vocab_size": 20,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
    "cls_token_id": None,
    "sep_token_id": None,
}


@pytest.mark.parametrize(
    ("model", "norms"),
    [
        # Its norms are called norm, attn_norm, mlp_norm and final_norm; the first layer has one.
        (ModernBertModel(ModernBertConfig(**SIZES)), 5),
        # EuroBertRMSNorm, which inherits from nn.Module alone: two per layer, one at the end.
        (EuroBertModel(EuroBertConfig(**SIZES, num_key_value_heads=2)), 5),
    ],
)
def test_norms_of_other_encoders_are_not_decayed(model, norms):
    groups = build_optimizer(model, OptimConfig()).param_groups
    assert [p.ndim for p in groups[1]["params"]] == [1] * norms
    assert {p.ndim for p in groups[0]["params"]} == {2}
    found = sum(len(group["params"]) for group in groups)
    assert found == len(list(model.parameters()))


def test_a_torch_rms_norm_is_not_decayed():
    model = nn.Sequential(nn.RMSNorm(4), nn.Linear(4, 2))
    assert decayed_parameters(model) == {model[1].weight}
