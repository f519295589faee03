"""What the layers of an untouched encoder know: a logistic regression on each.

The last layer of a discriminator is often not its best (Rep 2024, arXiv 2402.13130), so all of
them are tried.
"""

# Shapes: T tokens of a pack, N texts, H hidden size.

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from electra_cli.batch import PackedTokens
from electra_cli.model.networks import Network, encode
from electra_cli.probing.texts import TokenIds, packs_of
from electra_cli.training.device import Compute

Features = NDArray[np.float32]  # [N, H]


def features_of_layers(
    network: Network, texts: Sequence[TokenIds], compute: Compute
) -> list[Features]:
    """The mean of each text's hidden states after the embeddings and after every layer."""
    parts: list[list[Features]] = []
    for _, pack in packs_of(texts):
        with compute.autocast():
            states = _hidden_states(network, pack.to(compute.device))
        parts.append([_means(state, pack) for state in states])
    return [np.concatenate(of_layer) for of_layer in zip(*parts, strict=True)]


def accuracies_of_layers(
    features: Sequence[Features], labels: Sequence[str], num_training: int
) -> list[float]:
    """Of each layer: the share of the later texts whose label a regression on the first finds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    known, asked = labels[:num_training], labels[num_training:]
    accuracies = []
    for of_layer in features:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200, tol=1e-3))
        model.fit(of_layer[:num_training], known)
        accuracies.append(float(model.score(of_layer[num_training:], asked)))
    return accuracies


def _hidden_states(network: Network, pack: PackedTokens) -> list[Tensor]:
    """[T, H] each: the input of the first layer, then the output of every layer."""
    states: list[Tensor] = []

    def keep_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        states.append(inputs[0].squeeze(0))

    def keep_output(module: nn.Module, inputs: object, output: Tensor | tuple[Tensor]) -> None:
        states.append((output[0] if isinstance(output, tuple) else output).squeeze(0))

    layers = network.electra.encoder.layer
    hooks = [layers[0].register_forward_pre_hook(keep_input)]
    hooks += [layer.register_forward_hook(keep_output) for layer in layers]
    try:
        encode(network, pack.input_ids, pack)
    finally:
        for hook in hooks:
            hook.remove()
    return states


def _means(state: Tensor, pack: PackedTokens) -> Features:
    lengths = pack.cu_seqlens.diff()
    text_of_token = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    sums = torch.zeros(len(lengths), state.shape[1])
    sums.index_add_(0, text_of_token, state.float().cpu())
    means: Features = (sums / lengths[:, None]).numpy()
    return means
