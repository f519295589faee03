"""One answer per text, also where a text was read in several windows."""

import numpy as np
import pytest

from electra_cli.finetuning.examples import Example
from electra_cli.finetuning.inputs import Window
from electra_cli.finetuning.tasks.sequence import Classify, MultiLabel, Regress

OF_EXAMPLE = (0, 1, 1, 2)  # the second text has two windows
OUTPUTS = np.array([[1.0, 0.0], [4.0, 0.0], [-1.0, 2.0], [0.0, 3.0]], dtype=np.float32)
MEANS = np.array([[1.0, 0.0], [1.5, 1.0], [0.0, 3.0]])
EXAMPLES = [Example(str(n), "text") for n in range(3)]


def answer(task, outputs):
    ids = np.zeros(3, dtype=np.int32)
    windows = [Window(ids, ids.astype(np.int8), [0], example) for example in OF_EXAMPLE]
    return task.predictions(EXAMPLES, windows, [output[None] for output in outputs])


def test_the_mean_of_the_logits_of_its_windows_answers_for_a_text():
    task = Classify()
    task.label_names = ("a", "b")
    odds = np.exp(MEANS)
    expected = odds / odds.sum(axis=1, keepdims=True)
    assert answer(task, OUTPUTS).probabilities == pytest.approx(expected)
    several = MultiLabel()
    several.label_names = ("a", "b")
    assert answer(several, OUTPUTS).probabilities == pytest.approx(1 / (1 + np.exp(-MEANS)))


def test_the_mean_of_the_numbers_of_its_windows_answers_for_a_text():
    task = Regress()
    task.scale, task.shift = 4.0, 1.0
    found = answer(task, OUTPUTS[:, :1])
    assert found.predicted == pytest.approx(MEANS[:, 0] * 4.0 + 1.0)
