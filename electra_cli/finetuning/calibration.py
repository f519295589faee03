"""How well probabilities agree with what is right, before and after one temperature.

The temperature divides the logits; it changes no prediction. It is fitted to the loss on examples
that the model was not trained on (Guo 2017).
"""

from dataclasses import dataclass

import numpy as np

from electra_cli.finetuning.predictions import ClassPredictions, Floats

NUM_BINS = 15
_SMALLEST = 1e-12  # a probability of 0 would make one mistake cost an infinite loss


@dataclass(frozen=True)
class Calibration:
    """loss: mean -log p of the right class (nats). brier: mean squared error of the probabilities.

    error: expected calibration error. Each bin holds the examples whose highest probability lies
    in one of NUM_BINS equal parts of 0 to 1: their number, mean probability and share right.
    """

    loss: float
    brier: float
    error: float
    bins: tuple[tuple[int, float, float], ...]


def calibration_of(predictions: ClassPredictions, temperature: float = 1.0) -> Calibration:
    """The calibration of these predictions, their logits divided by the temperature."""
    probabilities = with_temperature(predictions.probabilities, temperature)
    confidence = probabilities.max(axis=1)
    is_right = predictions.predicted == predictions.gold
    bins = np.minimum((confidence * NUM_BINS).astype(int), NUM_BINS - 1)
    counts = np.bincount(bins, minlength=NUM_BINS)
    divisor = np.maximum(counts, 1)
    means = np.bincount(bins, confidence, minlength=NUM_BINS) / divisor
    shares = np.bincount(bins, is_right, minlength=NUM_BINS) / divisor
    gold = np.eye(len(predictions.label_names))[predictions.gold]
    return Calibration(
        _loss(probabilities, predictions),
        float(((probabilities - gold) ** 2).sum(axis=1).mean()),
        float((counts * np.abs(means - shares)).sum() / len(predictions)),
        tuple(zip(counts.tolist(), means.tolist(), shares.tolist(), strict=True)),
    )


def fit_temperature(predictions: ClassPredictions) -> float:
    """The temperature with the lowest loss on these examples, between 1/20 and 20."""
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        temperature = float(np.exp(log_temperature))
        return _loss(with_temperature(predictions.probabilities, temperature), predictions)

    return float(np.exp(minimize_scalar(loss, bounds=(-np.log(20), np.log(20))).x))


def with_temperature(probabilities: Floats, temperature: float) -> Floats:
    """[N, C] the probabilities with their logits divided by the temperature."""
    from scipy.special import softmax

    scaled: Floats = softmax(np.log(np.maximum(probabilities, _SMALLEST)) / temperature, axis=1)
    return scaled


def _loss(probabilities: Floats, predictions: ClassPredictions) -> float:
    of_gold = probabilities[np.arange(len(predictions)), predictions.gold]
    return float(-np.log(np.maximum(of_gold, _SMALLEST)).mean())
