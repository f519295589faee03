"""95% intervals of scores and of differences, by resampling seeds and examples.

Seeds are resampled and, with the same draws for every seed and every model, the examples (the
multi-bootstrap: google-research/language, multiberts/multibootstrap.py). Two corrections, without
which intervals are too narrow where there are few: one less is drawn than there are, which makes
the variance that of the unbiased estimate (Hesterberg 2015, section 3.3); and the seeds' part is
widened from the normal to Student's t distribution.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from electra_cli.finetuning.predictions import Floats, Predictions
from electra_cli.finetuning.scores import measure_of, range_of

RESAMPLES = 2000
_CHUNK = 100  # resamples at a time: their weights are all in memory
_PERCENTILES = (2.5, 97.5)
_NORMAL = 1.96
_MOST_SEEDS = 1_000  # more are never advised


@dataclass(frozen=True)
class Resampled:
    """A metric of each seed [S], of all examples and of each resample of them [R, S]."""

    values: Floats
    resampled: Floats
    num_examples: int
    range: tuple[float, float] = (-np.inf, np.inf)  # the values that there can be

    def __sub__(self, other: "Resampled") -> "Resampled":
        """The difference by seed; something without seeds is the same for all."""
        assert other.num_examples == self.num_examples
        assert other.values.size in (1, self.values.size)
        return Resampled(
            self.values - other.values,
            self.resampled - other.resampled,
            self.num_examples,
            (self.range[0] - other.range[1], self.range[1] - other.range[0]),
        )


@dataclass(frozen=True)
class Estimate:
    """The mean over the seeds and its 95% interval; all NaN where the metric has no value."""

    value: float
    low: float
    high: float
    num_examples: int
    num_seeds: int
    needed_examples: int | None = None  # with which it would differ from 0, all else equal
    needed_seeds: int | None = None

    @property
    def differs_from_zero(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def resample(seeds: Sequence[Predictions], metric: str) -> Resampled:
    """The metric of the predictions of each seed, for the examples and resamples of them."""
    measures = [measure_of(predictions, metric) for predictions in seeds]
    count = len(seeds[0])
    every = np.ones((1, count))
    values = np.concatenate([measure(every) for measure in measures])
    chunks = [
        np.stack([measure(weights) for measure in measures], axis=1) for weights in _weights(count)
    ]
    resampled = np.concatenate(chunks)
    has_value = np.isfinite(values)
    if has_value.any():  # a correlation of a seed that predicts a constant counts as 0 in the mean
        values, resampled = (np.where(has_value, each, 0.0) for each in (values, resampled))
    return Resampled(values, resampled, count, range_of(metric))


def estimate(scores: Resampled) -> Estimate:
    """The mean over the seeds and its interval."""
    of_examples = scores.resampled.mean(axis=1)
    num_seeds = scores.values.size
    value = float(scores.values.mean())
    drawn = of_examples + _seeds_part(scores.values)
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or not drawn.size:
        return Estimate(np.nan, np.nan, np.nan, scores.num_examples, num_seeds)
    low, high = (float(end) for end in np.percentile(drawn, _PERCENTILES))
    if low == high and np.isfinite(scores.range).all():
        # Every example alike: the exact binomial bound for n of n (the "rule of three").
        bound = 1 - 0.025 ** (1 / scores.num_examples)
        low, high = value - bound, value + bound
    low, high = max(low, scores.range[0]), min(high, scores.range[1])
    found = Estimate(value, low, high, scores.num_examples, num_seeds)
    if found.differs_from_zero:
        return found
    examples, seeds = _needed(scores, float(np.nanvar(of_examples)))
    return replace(found, needed_examples=examples, needed_seeds=seeds)


def _weights(count: int) -> Iterator[Floats]:
    """How often each example is drawn, [_CHUNK, N] at a time; the same draws in every call."""
    random = np.random.default_rng(0)
    for _ in range(RESAMPLES // _CHUNK):
        drawn = random.integers(count, size=(_CHUNK, max(count - 1, 1)))
        drawn += count * np.arange(_CHUNK)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=_CHUNK * count)
        yield counts.reshape(_CHUNK, count).astype(np.float64)


def _seeds_part(values: Floats) -> Floats:
    """[R] what resampling the seeds adds to their mean; 0 for one seed, whose spread is unknown."""
    count = values.size
    if count == 1:
        return np.zeros(RESAMPLES)
    drawn = np.random.default_rng(1).integers(count, size=(RESAMPLES, count - 1))
    part: Floats = _students(count) / _NORMAL * (values[drawn].mean(axis=1) - values.mean())
    return part


def _students(seeds: int) -> float:
    """Half the width of the 95% interval of a mean of so many seeds, in standard errors."""
    from scipy import stats

    return float(stats.t.ppf(0.975, seeds - 1))


def _needed(scores: Resampled, of_examples: float) -> tuple[int | None, int | None]:
    """How many examples, or else seeds, it takes to tell this mean from 0; None: they do not do.

    of_examples: the mean's variance from the examples, which falls with their number.
    """
    wanted, count = float(scores.values.mean()) ** 2, scores.values.size
    variance = float(scores.values.var(ddof=1)) if count > 1 else 0.0
    left = wanted - (_students(count) ** 2 * variance / count if count > 1 else 0.0)
    examples = None
    if left > 0:
        examples = int(np.ceil(scores.num_examples * _NORMAL**2 * of_examples / left))
    left = wanted - _NORMAL**2 * of_examples
    enough = (s for s in range(count + 1, _MOST_SEEDS) if _students(s) ** 2 * variance / s < left)
    return examples, next(enough, None) if variance and left > 0 else None
