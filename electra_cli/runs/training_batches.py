"""The training batches of a run, and the place in them to go on from."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import torch

from electra_cli.batch import Batch
from electra_cli.data.batches import Position, WindowReader, iter_batches
from electra_cli.data.prefetch import Prefetcher


class TrainingBatches:
    """The batches from a place on, read ahead in a thread; remembers the place after the last one.

    Batches have numbers, 1, 2 and so on over the whole run. Skipped ones are passed over, so the
    batch of a step has the step's number plus how many were skipped before it.
    """

    def __init__(
        self,
        reader: WindowReader,
        batch_size: int,
        state: Mapping[str, Any],
        device: torch.device,
    ) -> None:
        """`state` is what state() gave, or holds nothing at the start of a run.

        The batches lie on the host, in pinned memory if they are for a CUDA device.
        """
        self.position = Position(**state.get("position", {}))
        self.skipped: frozenset[int] = frozenset(state.get("skipped_batches", ()))
        self._num_read: int = state.get("batches_read", 0)
        batches = iter_batches(reader, batch_size, self.position)
        if device.type == "cuda":  # in the thread that reads ahead, so that no step waits for it
            batches = ((batch.pin_memory(), position) for batch, position in batches)
        self._prefetcher = Prefetcher(batches)

    def __iter__(self) -> Iterator[Batch]:
        for batch, position in self._prefetcher:
            self.position = position
            self._num_read += 1
            if self._num_read not in self.skipped:
                yield batch

    def state(self) -> dict[str, Any]:
        """Plain values to go on from."""
        return {
            "position": asdict(self.position),
            "batches_read": self._num_read,
            "skipped_batches": sorted(self.skipped),
        }

    def close(self) -> None:
        """Stop reading ahead."""
        self._prefetcher.close()


def number_of_batch(step: int, skipped: Iterable[int]) -> int:
    """The number of the batch that a step trained on."""
    number = step
    for each in sorted(skipped):
        number += each <= number
    return number
