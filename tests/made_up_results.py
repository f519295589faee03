"""Results of fine-tunings that never ran, for the tests of what judges them."""

from collections.abc import Sequence

import numpy as np

from electra_cli.finetuning.predictions import ClassPredictions
from electra_cli.finetuning.results import Examples, Judged, Results, Tuned

NAMES = ("ABBR", "DESC", "NUM")
_WORDS = ("what does it mean", "describe how it works", "how many are there")
SEEDS = (0, 1, 2)


def examples_of(gold: Sequence[int], start: int = 0) -> Examples:
    """Questions whose words tell the class in half of the cases."""
    texts = tuple(
        (f"{_WORDS[label] if (at + start) % 2 else 'tell me'} number {at + start}",)
        for at, label in enumerate(gold)
    )
    ids = tuple(str(at + start) for at in range(len(gold)))
    return Examples(ids, texts, tuple(NAMES[label] for label in gold))


def classified(gold: np.ndarray, share_right: float, seed: int) -> ClassPredictions:
    """Predictions of which about this share is right; the same examples are hard for all seeds."""
    hard = np.random.default_rng(99).normal(size=len(gold))
    random = np.random.default_rng(seed)
    is_right = 0.9 * hard + 0.45 * random.normal(size=len(gold)) < np.quantile(hard, share_right)
    said = np.where(is_right, gold, (gold + 1) % len(NAMES))
    sure = random.uniform(0.5, 0.99, size=len(gold))
    probabilities = np.repeat((1 - sure)[:, None] / 2, len(NAMES), axis=1)
    probabilities[np.arange(len(gold)), said] = sure
    return ClassPredictions(NAMES, gold, probabilities)


def tuned(
    name: str, gold: dict[str, np.ndarray], share: float, flops: float | None = None, seeds=SEEDS
) -> Tuned:
    predictions = {
        split: tuple(classified(of_split, share, seed) for seed in seeds)
        for split, of_split in gold.items()
    }
    return Tuned(name, seeds, predictions, flops)


def made_up_results(*encoders: tuple[str, float, float], seeds=SEEDS) -> Results:
    """Of encoders (name, share right, share right with random weights), two splits."""
    random = np.random.default_rng(0)
    labels = {
        split: random.choice(3, size=size, p=[0.2, 0.3, 0.5])
        for split, size in (("train", 400), ("validation", 200), ("test", 300))
    }
    gold = {split: labels[split] for split in ("validation", "test")}
    return Results(
        title="trec",
        task="classify",
        metrics=("accuracy", "macro_f1"),
        train=examples_of(labels["train"]),
        splits={
            "validation": examples_of(labels["validation"], start=1000),
            "test": examples_of(labels["test"], start=390),  # 10 texts are those of train
        },
        judged=tuple(
            Judged(
                tuned(name, gold, share, 4e14, seeds),
                tuned(f"{name} (random weights)", gold, of_random, seeds=seeds),
            )
            for at, (name, share, of_random) in enumerate(encoders)
        ),
        notes={"train examples cut to 128 tokens": 12},
        settings={"epochs": "3"},
    )
