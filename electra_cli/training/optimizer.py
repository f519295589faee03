"""Parameter groups, the authors' AdamW, and the learning rate as a function of the step."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from electra_cli.config import OptimConfig

# The authors' Adam has no bias correction (optimization.py:119-133). torch's divides by
# 1 - beta**step. With a step count this high that is exactly 1 in double precision for every beta
# below 1. Such a count stays what it is when torch adds 1.
_STEP_WITHOUT_CORRECTION = 1e18


def learning_rate_at(step: int, optim: OptimConfig, num_steps: int) -> float:
    """Rate of the update after `step` completed steps.

    Warm-up times decay, not piecewise (google-research/electra, optimization.py:36-45), so the
    first update has rate 0. Raises ValueError if step is outside [0, num_steps).
    """
    if not 0 <= step < num_steps:
        raise ValueError(f"step {step} is outside [0, {num_steps})")
    warmup = min(1.0, step / optim.num_warmup_steps) if optim.num_warmup_steps else 1.0
    return optim.learning_rate * warmup * (1.0 - step / num_steps)


def decayed_parameters(model: nn.Module) -> set[nn.Parameter]:
    """All but biases and the weights of normalisation modules; embeddings are decayed."""
    undecayed = {
        parameter
        for module in model.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if name.endswith("bias") or _normalises(module)
    }
    return set(model.parameters()) - undecayed


def _normalises(module: nn.Module) -> bool:
    """Whether its class, or one that it inherits from, has a name that ends with "Norm".

    So do nn.LayerNorm, nn.RMSNorm, and transformers' own, which share no base class.
    """
    return any(each.__name__.endswith("Norm") for each in type(module).mro())


def build_optimizer(
    model: nn.Module,
    optim: OptimConfig,
    rate_factors: Mapping[nn.Parameter, float] = MappingProxyType({}),
) -> torch.optim.AdamW:
    """AdamW as the authors wrote it; each shared tensor is updated once.

    Weight decay, `learning_rate * weight_decay * w`, is added to the Adam update, as in their code.
    `rate_factors`: by how much the rate of a parameter differs, 1 for those that it lacks; each
    group holds its own as `rate_factor`.
    """
    # A shared tensor stands in it once, a frozen one not at all.
    parameters = [each for each in model.parameters() if each.requires_grad]
    decayed = decayed_parameters(model)
    groups: list[dict[str, Any]] = []
    for factor in dict.fromkeys([1.0, *rate_factors.values()]):
        alike = [p for p in parameters if rate_factors.get(p, 1.0) == factor]
        for is_decayed, decay in ((True, optim.weight_decay), (False, 0.0)):
            members = [p for p in alike if (p in decayed) == is_decayed]
            groups.append({"params": members, "weight_decay": decay, "rate_factor": factor})
    optimizer = torch.optim.AdamW(
        groups,
        lr=optim.learning_rate,
        betas=(optim.adam_beta1, optim.adam_beta2),
        eps=optim.adam_epsilon,
        fused=True,
    )
    for parameter in parameters:
        optimizer.state[parameter] = {
            "step": torch.tensor(_STEP_WITHOUT_CORRECTION, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    return optimizer
