"""The authors' initial weights, in Hugging Face's modules.

Truncated normal everywhere, Glorot uniform for embeddings_project and the discriminator's last
logit layer, biases 0, LayerNorm 1 and 0 (google-research/electra, modeling.py and
run_pretraining.py:187-193). Hugging Face's own are a plain normal with a zeroed [PAD] row.
"""

import math

import torch
from torch import Tensor, nn


def initialize(module: nn.Module, standard_deviation: float) -> None:
    """Draw every weight of `module` anew from torch's global generator.

    A module reached twice (shared embeddings) is drawn once.
    """
    for name, child in module.named_modules():
        if isinstance(child, nn.Linear):
            if name.endswith(("embeddings_project", "dense_prediction")):
                nn.init.xavier_uniform_(child.weight)
            else:
                _truncated_normal(child.weight, standard_deviation)
            nn.init.zeros_(child.bias)
        elif isinstance(child, nn.Embedding):
            _truncated_normal(child.weight, standard_deviation)
        elif isinstance(child, nn.LayerNorm):
            nn.init.ones_(child.weight)
            nn.init.zeros_(child.bias)


def _truncated_normal(weight: Tensor, standard_deviation: float) -> None:
    """Redrawn outside two standard deviations, which leaves a deviation of 0.88 of it."""
    bound = 2 * standard_deviation
    nn.init.trunc_normal_(weight, std=standard_deviation, a=-bound, b=bound)


@torch.no_grad()
def set_sinusoids(positions: nn.Embedding, standard_deviation: float) -> None:
    """Sines and cosines of falling frequency (Vaswani et al. 2017, section 3.5) as a start.

    Their root mean square is two deviations, so that at first order outweighs words.
    """
    count, size = positions.weight.shape
    frequencies = torch.exp(torch.arange(0, size, 2) * (-math.log(10_000.0) / size))
    angles = torch.arange(count)[:, None] * frequencies
    waves = torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)[:, :size]
    positions.weight.copy_(waves * (2 * math.sqrt(2) * standard_deviation))
