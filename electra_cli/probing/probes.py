"""Probes of a model in training: they cost seconds, and say what its losses do not.

An RTD loss does not rank runs, because each generator makes it differently hard. How well frozen
layers tell labels, and how often the better of two texts is found, do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch

from electra_cli.metrics import Metrics
from electra_cli.model.cost.flops import TrainingFlops
from electra_cli.model.networks import Network
from electra_cli.model.objectives.objective import Objective
from electra_cli.probing.layers import accuracies_of_layers, features_of_layers
from electra_cli.probing.pairs import MinimalPairs, rtd_scores, share_preferred, word_scores
from electra_cli.probing.texts import TokenIds
from electra_cli.training.device import Compute
from electra_cli.training.processes import ALONE, Processes

# The share of a run's FLOPs that probes may cost where nothing else is said.
USUAL_SHARE = 0.05
# A training step computes a forward pass and, at twice its cost, the backward one.
_FORWARD_SHARE = 1 / 3


@dataclass(frozen=True)
class LabelledTexts:
    """The first `num_training` of the texts are learned from, the others asked."""

    texts: Sequence[TokenIds]
    labels: Sequence[str]
    num_training: int


@dataclass(frozen=True)
class Probes:
    """What is asked of a model every `every` steps, and at the end."""

    every: int
    mask_id: int
    labelled: LabelledTexts | None
    pairs: MinimalPairs | None
    num_cut: int = 0  # texts that are longer than the windows of the run

    @property
    def num_texts(self) -> int:
        """All texts, two of each pair."""
        labelled = len(self.labelled.texts) if self.labelled else 0
        return labelled + (2 * len(self.pairs.good) if self.pairs else 0)

    def are_due(self, step: int, is_last: bool) -> bool:
        """Whether it is their turn; `step` is one at which held-out text is evaluated."""
        return is_last or step % self.every == 0

    @torch.no_grad()
    def measure(self, model: Objective, compute: Compute, processes: Processes = ALONE) -> Metrics:
        """The metrics of this model, which stays as it is; no random numbers are drawn."""
        model.eval()
        metrics: Metrics = {}
        networks = model.networks()
        if self.labelled is not None:
            main = networks[model.main_network]
            texts = self.labelled.texts
            own = texts[_slice(len(texts), processes)]
            # A process without a text of its own has the same layers, with no rows.
            found = features_of_layers(main, own or texts[:1], compute)
            rows = (torch.from_numpy(of_layer[: len(own)]) for of_layer in found)
            features = [processes.gather_rows(of_layer).numpy() for of_layer in rows]
            # A regression per layer, in turn on each process.
            some = features[processes.rank :: processes.count]
            by_rank = processes.exchange(
                accuracies_of_layers(some, self.labelled.labels, self.labelled.num_training)
            )
            count = processes.count
            accuracies = [by_rank[n % count][n // count] for n in range(len(features))]
            best = max(range(len(accuracies)), key=accuracies.__getitem__)
            metrics["probe_accuracy"] = accuracies[best]
            metrics["probe_layer"] = float(best)
            metrics["probe_last_accuracy"] = accuracies[-1]
        if self.pairs is not None:
            for name, network in networks.items():
                judges = name == model.main_network and not model.predicts_words
                metrics |= self._compare_pairs(name, network, judges, compute, processes)
        model.train()
        return metrics

    def _compare_pairs(
        self, name: str, network: Network, judges: bool, compute: Compute, processes: Processes
    ) -> Metrics:
        assert self.pairs is not None
        texts = [*self.pairs.good, *self.pairs.bad]
        own = texts[_slice(len(texts), processes)]
        if not own:  # there are more processes than texts
            scores: list[float] = []
        elif judges:
            scores = rtd_scores(network, own, compute)
        else:
            scores = word_scores(network, own, self.mask_id, compute)
        scores = list(chain.from_iterable(processes.exchange(scores)))
        half = len(self.pairs.good)
        found = (scores[:half], scores[half:])
        return {
            f"pairs_{name}": share_preferred(self.pairs, *found),
            f"pairs_{name}_by_token": share_preferred(self.pairs, *found, by_token=True),
        }


def _slice(count: int, processes: Processes) -> slice:
    """This process's share of so many texts."""
    bounds = [count * rank // processes.count for rank in (processes.rank, processes.rank + 1)]
    return slice(*bounds)


def probing_flops(
    flops: TrainingFlops, labelled: LabelledTexts | None, pairs: MinimalPairs | None
) -> float:
    """Operations of one measurement, at most: as if every token went through every network."""
    lengths = [len(ids) for ids in labelled.texts] if labelled else []
    num_predicted = 0
    for ids in (*pairs.good, *pairs.bad) if pairs else ():
        lengths += [len(ids)] * (len(ids) - 1)  # once for RTD, and once per token for words
        num_predicted += len(ids) - 2
    squares = sum(length * length for length in lengths)
    return _FORWARD_SHARE * flops.count(sum(lengths), num_predicted, squares)
