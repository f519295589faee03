"""Probes that several processes share find what one process finds."""

import numpy as np
import pytest
import torch
from conftest import CPU, VOCAB_SIZE, tiny_config
from played import play

from electra_cli.model.objectives.registry import build_objective
from electra_cli.probing.pairs import MinimalPairs
from electra_cli.probing.probes import LabelledTexts, Probes


@pytest.mark.parametrize("objective", ["electra", "mlm"])
def test_any_number_of_processes_finds_the_same(objective):
    """Of seven processes, one has no text and four have no layer."""
    draw = np.random.default_rng(0)
    texts = [draw.integers(5, VOCAB_SIZE, size=draw.integers(4, 20)) for _ in range(6)]
    pairs = [[draw.integers(5, VOCAB_SIZE, size=8) for _ in range(3)] for _ in range(2)]
    labelled = LabelledTexts(texts, ["a", "b", "a", "b", "a", "b"], num_training=4)
    probes = Probes(1, 4, labelled, MinimalPairs(*pairs, paradigms=["x", "x", "y"]))
    config = tiny_config(objective={"name": objective})
    torch.manual_seed(0)
    model = build_objective(config.model, config.objective, VOCAB_SIZE, pad_id=0)
    (alone,) = play(1, lambda processes: probes.measure(model, CPU, processes))
    assert len(alone) == (7 if objective == "electra" else 5)
    for count in (2, 3, 7):
        assert play(count, lambda each: probes.measure(model, CPU, each)) == [alone] * count
