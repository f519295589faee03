"""The authors' initial weights, in Hugging Face's modules.

Weights are truncated normal, but Glorot uniform in embeddings_project and in the discriminator's
last layer; biases are 0, LayerNorm's weights 1 (google-research/electra, modeling.py and
run_pretraining.py:187-193). Hugging Face's own initial weights differ: normal, and 0 for [PAD].
"""

import math

import torch
from torch import Tensor, nn


def initialize(module: nn.Module, standard_deviation: float) -> None:
    """Set every parameter of `module`, drawing from torch's global generator.

    A module that is shared, such as the embeddings, is drawn once.
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
    """Normal, cut at two standard deviations; the actual deviation is then 0.88 times as large."""
    bound = 2 * standard_deviation
    nn.init.trunc_normal_(weight, std=standard_deviation, a=-bound, b=bound)


@torch.no_grad()
def set_sinusoids(positions: nn.Embedding, standard_deviation: float) -> None:
    """Start positions as sines and cosines of falling frequency (Vaswani et al. 2017, section 3.5).

    Their root mean square is twice `standard_deviation`, which is that of the word embeddings: at
    first the order of words weighs more than the words.
    """
    count, size = positions.weight.shape
    frequencies = torch.exp(torch.arange(0, size, 2) * (-math.log(10_000.0) / size))
    angles = torch.arange(count)[:, None] * frequencies
    waves = torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)[:, :size]
    positions.weight.copy_(waves * (2 * math.sqrt(2) * standard_deviation))
