"""Minimal pairs: which of two texts, one right and one wrong, a network takes for the better.

A discriminator scores a text in one pass: the sum over its tokens of log(1 - sigmoid(logit)), the
logarithm of "not replaced". A masked language model needs a pass per token: the sum of
log p(token | all others), its pseudo-log-likelihood (Salazar et al. 2020). [CLS] and [SEP] are
left out.
"""

# Shapes: T tokens of a pack, n of one text.

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from electra_cli.model.networks import encode, predict_words
from electra_cli.probing.texts import TokenIds, packs_of
from electra_cli.training.device import Compute


@dataclass(frozen=True)
class MinimalPairs:
    """The texts, and which kind of mistake (paradigm) each pair is about."""

    good: Sequence[TokenIds]
    bad: Sequence[TokenIds]
    paradigms: Sequence[str]


def rtd_scores(network: Any, texts: Sequence[TokenIds], compute: Compute) -> list[float]:
    """A discriminator's score of each text."""
    scores: list[float] = []
    for part, pack in packs_of(texts):
        batch = pack.to(compute.device)
        with compute.autocast():
            logits = network.discriminator_predictions(encode(network, batch.input_ids, batch))
        of_tokens = functional.logsigmoid(-logits.float()).cpu()
        bounds = pack.cu_seqlens.tolist()
        scores += [
            float(of_tokens[bounds[at] + 1 : bounds[at + 1] - 1].sum())
            for at in range(len(texts[part]))
        ]
    return scores


def word_scores(
    network: Any, texts: Sequence[TokenIds], mask_id: int, compute: Compute
) -> list[float]:
    """A masked language model's score of each text."""
    copies: list[TokenIds] = []
    places: list[int] = []
    for ids in texts:
        for place in range(1, len(ids) - 1):
            copy = ids.copy()
            copy[place] = mask_id
            copies.append(copy)
            places.append(place)
    wanted = np.concatenate([ids[1:-1] for ids in texts])
    losses = np.empty(len(copies))
    for part, pack in packs_of(copies):
        batch = pack.to(compute.device)
        at = pack.cu_seqlens[:-1].long() + torch.tensor(places[part])
        with compute.autocast():
            hidden = encode(network, batch.input_ids, batch)[at.to(compute.device)]
            targets = torch.from_numpy(wanted[part]).to(compute.device)
            losses[part] = predict_words(network, hidden, targets).losses.cpu().numpy()
    ends = np.cumsum([len(ids) - 2 for ids in texts])
    return [float(-of_text.sum()) for of_text in np.split(losses, ends[:-1])]


def share_preferred(
    pairs: MinimalPairs, good: Sequence[float], bad: Sequence[float], by_token: bool = False
) -> float:
    """How often the good text scores higher: the mean over the paradigms; equals count a half.

    by_token: scores are divided by the numbers of tokens, which differ within some pairs. That of
    a text without a token is 0.
    """
    won: dict[str, list[float]] = defaultdict(list)
    for at, paradigm in enumerate(pairs.paradigms):
        right, wrong = good[at], bad[at]
        if by_token:
            right /= max(1, len(pairs.good[at]) - 2)
            wrong /= max(1, len(pairs.bad[at]) - 2)
        won[paradigm].append(0.5 if right == wrong else float(right > wrong))
    return float(np.mean([np.mean(each) for each in won.values()]))
