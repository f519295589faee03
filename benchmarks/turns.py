"""Contestants measured in turns in one run, so that a busy machine affects all of them."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """A measured value over the repetitions."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.lowest:.2f} to {self.highest:.2f})"


@dataclass(frozen=True)
class Turns:
    """Seconds of each contestant, one entry per repetition."""

    seconds: Mapping[str, list[float]]

    def ratio(self, slow: str, fast: str, weight: float = 1.0) -> Spread:
        """How many times as fast `fast` is, for each repetition, times `weight`."""
        pairs = zip(self.seconds[slow], self.seconds[fast], strict=True)
        return Spread.of([weight * slower / faster for slower, faster in pairs])

    def rate(self, name: str, amount: float) -> float:
        """`amount` per second, by the median."""
        return amount / statistics.median(self.seconds[name])


def take_turns(
    contestants: Mapping[str, Callable[[], object]],
    repetitions: int,
    warm_up: int = 1,
    before: Callable[[str], object] = lambda name: None,
) -> Turns:
    """Call each once, in order, `warm_up` uncounted times and then `repetitions` times.

    `before` is called with a contestant's name before its turn, uncounted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for repetition in range(warm_up + repetitions):
        for name, run in contestants.items():
            before(name)
            started = time.perf_counter()
            run()
            elapsed = time.perf_counter() - started
            if repetition >= warm_up:
                seconds[name].append(elapsed)
    return Turns(seconds)


def report(label: str, figure: object, bar: str = "") -> None:
    """Print one line of the benchmark; `bar` is the value that it should reach."""
    print(f"  {label:<58} {figure!s:<24} {bar}".rstrip(), flush=True)
