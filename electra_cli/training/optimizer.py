"""Parameter groups, the authors' AdamW, and the learning rate as a function of the step."""

from typing import Any

import torch
from torch import nn

from electra_cli.config import OptimConfig

# The authors' Adam corrects no bias (optimization.py:119-133). torch's does, by 1 - beta**step;
# with a step count this high both corrections are exactly one in double precision, and float32
# still counts it exactly.
_STEP_WITHOUT_CORRECTION = 1_000_000.0


def learning_rate_at(step: int, optim: OptimConfig, num_steps: int) -> float:
    """Rate of the update after `step` completed steps.

    Warm-up times decay, not piecewise (google-research/electra, optimization.py:36-45), so the
    first update has rate 0. Raises ValueError if step is outside [0, num_steps).
    """
    if not 0 <= step < num_steps:
        raise ValueError(f"step {step} is outside [0, {num_steps})")
    warmup = min(1.0, step / optim.num_warmup_steps) if optim.num_warmup_steps else 1.0
    return optim.learning_rate * warmup * (1.0 - step / num_steps)


def is_decayed(name: str) -> bool:
    """Whether weight decay applies: to all but biases and LayerNorm; embeddings are decayed."""
    return not name.endswith("bias") and "LayerNorm" not in name


def build_optimizer(model: nn.Module, optim: OptimConfig) -> torch.optim.AdamW:
    """AdamW as the authors wrote it; each shared tensor is updated once.

    Its weight decay is `learning_rate * weight_decay * w`, beside the Adam update, as theirs.
    """
    named = dict(model.named_parameters())  # named_parameters leaves repeated tensors out
    groups: list[dict[str, Any]] = [
        {"params": [p for n, p in named.items() if is_decayed(n)]},
        {"params": [p for n, p in named.items() if not is_decayed(n)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups,
        lr=optim.learning_rate,
        betas=(optim.adam_beta1, optim.adam_beta2),
        eps=optim.adam_epsilon,
        weight_decay=optim.weight_decay,
        fused=True,
    )
    for parameter in named.values():
        optimizer.state[parameter] = {
            "step": torch.tensor(_STEP_WITHOUT_CORRECTION, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    return optimizer
