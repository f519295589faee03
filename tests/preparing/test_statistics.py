"""What is counted while documents are prepared."""

import numpy as np
import pytest

from electra_cli.preparing.statistics import unigram_entropy


def test_unigram_entropy_of_known_distributions():
    assert unigram_entropy(np.array([0, 5, 5, 0])) == pytest.approx(np.log(2))
    assert unigram_entropy(np.array([0, 7])) == 0
    assert unigram_entropy(np.ones(1_000)) == pytest.approx(np.log(1_000))
