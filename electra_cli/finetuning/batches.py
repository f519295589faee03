"""The order of training windows: a function of seed and epoch, the same for every encoder."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from electra_cli.batch import LabelledBatch
from electra_cli.data.counter_random import permute
from electra_cli.finetuning.inputs import Window, pack
from electra_cli.training.run_state import BatchesState


class FinetuneBatches:
    """Endless batches of an epoch's windows in random order; an epoch's last batch may be smaller.

    So are the authors', whose last batch is filled up with examples that have no loss.
    """

    def __init__(
        self,
        windows: Sequence[Window],
        targets: Sequence[NDArray[Any]],
        batch_size: int,
        seed: int,
        state: BatchesState,
    ) -> None:
        self._windows = windows
        self._targets = targets
        self._batch_size = batch_size
        self._seed = seed
        self._epoch, self._index, self._num_read = state.epoch, state.index, state.num_read

    def __iter__(self) -> Iterator[LabelledBatch]:
        return self

    def __next__(self) -> LabelledBatch:
        if self._index >= len(self._windows):
            self._epoch, self._index = self._epoch + 1, 0
        stop = min(self._index + self._batch_size, len(self._windows))
        places = np.arange(self._index, stop)
        chosen = permute(places, len(self._windows), self._seed, self._epoch)
        self._index, self._num_read = stop, self._num_read + 1
        return pack([self._windows[n] for n in chosen], [self._targets[n] for n in chosen])

    @property
    def epochs(self) -> float:
        """Passes over the examples so far."""
        return self._epoch + self._index / len(self._windows)

    def state(self) -> BatchesState:
        """The position to go on from."""
        return BatchesState(
            epoch=self._epoch,
            index=self._index,
            num_windows=len(self._windows),
            num_read=self._num_read,
        )


def scoring_batches(windows: Sequence[Window], batch_size: int) -> Iterator[LabelledBatch]:
    """All windows in order, without targets."""
    for first in range(0, len(windows), batch_size):
        part = windows[first : first + batch_size]
        yield pack(part, [np.zeros(len(window.slots), dtype=np.int64) for window in part])


def split_outputs(
    outputs: torch.Tensor, windows: Sequence[Window], is_per_token: bool
) -> list[NDArray[np.float32]]:
    """Outputs of all windows, one after the other -> of each."""
    sizes = [len(window.ids) if is_per_token else len(window.slots) for window in windows]
    return [part.numpy() for part in torch.split(outputs, sizes)]
