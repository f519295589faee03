"""Seeds whose fine-tuning failed: named, and kept in every mean."""

import numpy as np

from electra_cli.finetuning.calibration import calibration_of
from electra_cli.finetuning.mistakes import answers_of
from electra_cli.finetuning.predictions import (
    ClassPredictions,
    Predictions,
    RegressionPredictions,
    TagPredictions,
)
from electra_cli.finetuning.scores import score

_SAME = 0.01  # share of a loss, or of a spread, below which it counts as a constant's


def failure_of(predictions: Predictions, majority: Predictions | None) -> str | None:
    """Why this seed counts as failed, in words; None if it does not.

    majority: what the predictor of the most frequent class says of the same examples.
    """
    if isinstance(predictions, RegressionPredictions):
        is_constant = predictions.predicted.std() <= _SAME * predictions.gold.std()
        return "predicts the same number for every example" if is_constant else None
    if isinstance(predictions, TagPredictions):
        said = {tag for tags in predictions.predicted for tag in tags}
        right = {tag for tags in predictions.gold for tag in tags}
    else:
        answers = answers_of(predictions)
        said = {answer.prediction for answer in answers}
        right = {answer.label for answer in answers}
    if len(said) == 1 < len(right):
        of_what = "word" if isinstance(predictions, TagPredictions) else "example"
        return f"predicts {said.pop()} for every {of_what}"
    if isinstance(predictions, ClassPredictions) and isinstance(majority, ClassPredictions):
        return _no_better(predictions, majority)
    return None


def _no_better(predictions: ClassPredictions, majority: ClassPredictions) -> str | None:
    loss, of_majority = calibration_of(predictions).loss, calibration_of(majority).loss
    if np.isclose(loss, of_majority, rtol=_SAME):
        return f"its loss ({loss:.3f}) is that of the class shares ({of_majority:.3f})"
    ours, theirs = (score(each, ["accuracy"])["accuracy"] for each in (predictions, majority))
    if ours < theirs:
        return f"its accuracy ({100 * ours:.1f}) is below the majority's ({100 * theirs:.1f})"
    return None
