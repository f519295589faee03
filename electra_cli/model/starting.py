"""Start training from trained networks: copy their weights, and say what came from where."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from electra_cli.model.objectives.objective import Objective
from electra_cli.model.sources import (
    EMBEDDINGS,
    LAYERS,
    OUTPUT_BIAS,
    WORD_EMBEDDINGS,
    SourceNetwork,
)

# Ids that a vocabulary gained, and the ids of the pieces that stood for each before.
NewTokens = Mapping[int, Sequence[int]]

_NEVER = -100.0  # a logit whose probability is 0 in float32 beside any that was learned


@dataclass(frozen=True)
class Loaded:
    """How a network of the model began."""

    network: str
    source: str | None  # None: none of its weights was loaded
    loaded: tuple[str, ...]  # names of tensors
    new: tuple[str, ...]  # drawn
    left_over: tuple[str, ...]  # of the source


@torch.no_grad()
def start_from(
    model: Objective,
    main: SourceNetwork | None,
    generator: SourceNetwork | None,
    new_tokens: NewTokens | None = None,
) -> list[Loaded]:
    """Copy the sources' weights over the drawn ones, shared weights once.

    Without a generator one of the model's own starts from the main network's embeddings.
    """
    done: set[int] = set()
    found = []
    for name, network in model.networks().items():
        source = main if name == model.main_network else generator
        weights = {} if source is None else dict(source.weights)
        origin = None if source is None else source.name
        if source is None and main is not None:
            # Where the embeddings are shared, these are the main network's, and done already.
            weights = {k: v for k, v in main.weights.items() if k.startswith(EMBEDDINGS)}
            if all(id(p) not in done for p in network.electra.embeddings.parameters()):
                origin = f"{main.name}, embeddings"
        loaded, new = _copy(network, weights, done, new_tokens or {})
        names = dict(network.named_parameters())
        left_over = () if source is None else (*source.left_over, *(weights.keys() - names.keys()))
        found.append(Loaded(name, origin, loaded, new, tuple(sorted(left_over))))
    heads = {n: p for n, p in model.named_parameters() if n.split(".")[0] not in model.networks()}
    if heads:
        known = {} if main is None else {n: t for n, t in main.beside.items() if n in heads}
        for name, tensor in known.items():
            heads[name].copy_(tensor)
        new = tuple(heads.keys() - known.keys())
        found.append(Loaded("gate", main.name if known and main else None, (*known,), new, ()))
    return found


def _copy(
    network: nn.Module, weights: Mapping[str, Tensor], done: set[int], new_tokens: NewTokens
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of tensors: (loaded, drawn). Those in `done` are shared with a network before."""
    loaded, new = [], []
    for name, parameter in network.named_parameters():
        if id(parameter) in done:
            continue
        tensor = weights.get(name)
        has_rows = name in (WORD_EMBEDDINGS, OUTPUT_BIAS)
        if tensor is None or tensor.shape[has_rows:] != parameter.shape[has_rows:]:
            new.append(name)
            continue
        if has_rows:
            _copy_rows(parameter, tensor, new_tokens)
        else:
            parameter.copy_(tensor)
        loaded.append(name)
    done.update(id(parameter) for parameter in network.parameters())
    return tuple(loaded), tuple(new)


def _copy_rows(parameter: Tensor, tensor: Tensor, new_tokens: NewTokens) -> None:
    """Rows of the vocabulary: old ids keep theirs; new ones begin as the mean of their pieces'.

    Rows without pieces only pad the vocabulary: as drawn, and with a bias that predicts none.
    """
    kept = min([len(parameter), len(tensor), *new_tokens])
    parameter[:kept] = tensor[:kept]
    for index, pieces in new_tokens.items():
        if pieces:
            parameter[index] = tensor[list(pieces)].mean(dim=0)
        elif parameter.dim() == 1:
            parameter[index] = _NEVER


def part_of(name: str) -> str:
    """The part of a network that a tensor belongs to, for a table."""
    if name.startswith(EMBEDDINGS):
        return "embeddings"
    return "layers" if name.startswith(LAYERS) else name.split(".", maxsplit=1)[0]
