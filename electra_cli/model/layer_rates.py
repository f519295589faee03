"""Lower learning rates for lower layers, as the authors fine-tune."""

import re
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

# In the names of weights, with its number.
LAYER = re.compile(r"(?:^|\.)(?:layers?|albert_layer_groups)\.(\d+)\.")


@dataclass(frozen=True)
class LayerRates:
    """Layer-wise decay of the learning rate (google-research/electra, optimization.py:181-193).

    published: decay ** (L + 2 - depth), depth 0 of embeddings, i + 1 of layer i, L + 2 of the head.
    paper: the last layer has decay ** 1, for depth L + 1 belonged to a pooler that is gone
    (google-research/electra, issue 51).
    """

    decay: float
    formula: Literal["published", "paper"] = "published"

    def factor(self, depth: int, num_layers: int) -> float:
        """What the peak rate is multiplied by."""
        if depth == num_layers + 2:
            return 1.0
        skipped = 2 if self.formula == "published" else 1
        return float(self.decay ** (num_layers + skipped - depth))

    def factors(self, network: Any) -> dict[nn.Parameter, float]:
        """Of every parameter: embeddings, layers, and what is neither, the head."""
        num_layers = int(network.config.num_hidden_layers)
        prefix = f"{network.base_model_prefix}."
        found = {}
        for name, parameter in network.named_parameters():
            depth = num_layers + 2
            if name.startswith(prefix) and ".pooler." not in name:
                layer = LAYER.search(name)
                is_input = "embed" in name.removeprefix(prefix).split(".")[0]
                depth = int(layer[1]) + 1 if layer else 0 if is_input else num_layers
            found[parameter] = self.factor(depth, num_layers)
        return found
