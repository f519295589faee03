"""The training batches of a run, and the position to continue from."""

import dataclasses
from collections.abc import Iterable, Iterator
from itertools import count

import torch

from electra_cli.batch import Batch, Share
from electra_cli.config import PretrainConfig
from electra_cli.data.batches import Position, WindowReader
from electra_cli.data.dealing import iter_shares
from electra_cli.data.prefetch import Prefetcher
from electra_cli.data.replay import Replay
from electra_cli.schedule import Schedule, value_at
from electra_cli.training.processes import ALONE, Processes
from electra_cli.training.run_state import BatchesState, ReplayState


class TrainingBatches:
    """The batches from a position on, read ahead in a thread; knows the position after the last.

    Batches have numbers, 1, 2 and so on over the whole run. The batch of step n has number n plus
    the number of batches skipped before it.
    """

    def __init__(
        self,
        reader: WindowReader,
        config: PretrainConfig,
        state: BatchesState,
        device: torch.device,
        replay: Replay | None = None,
        processes: Processes = ALONE,
    ) -> None:
        """The batches lie on the host, in pinned memory if they are for a CUDA device."""
        self._reader = reader
        self._config = config
        self._replay = replay
        self._processes = processes
        self._is_pinned = device.type == "cuda"
        self._start(state)

    def _start(self, state: BatchesState) -> None:
        older = None if state.replay is None else Position(**state.replay.model_dump())
        self._position = Position(state.epoch, state.index, state.num_windows, older)
        self._num_read = state.num_read
        self.skipped = frozenset(state.skipped)  # numbers of batches
        config, processes = self._config.run, self._processes
        replay = self._replay
        shares = iter_shares(
            self._reader,
            config.batch_size,
            self._position,
            config.num_parts(processes.count),
            processes.rank,
            processes.count,
            self._mask_fractions(),
            replay and dataclasses.replace(replay, first_batch=self._num_read),
        )
        if self._is_pinned:  # in the thread that reads ahead, so that no step waits for it
            shares = ((share.pin_memory(), position) for share, position in shares)
        self._prefetcher = Prefetcher(shares)

    def _mask_fractions(self) -> Iterator[float] | None:
        """Of each batch, by its number; None: always the same."""
        option, num_steps = self._config.objective.mask_fraction, self._config.run.num_steps
        if not isinstance(option, Schedule):
            return None
        return (value_at(option, number, num_steps) for number in count(self._num_read))

    def __iter__(self) -> Iterator[Share[Batch]]:
        return self

    def __next__(self) -> Share[Batch]:
        while True:
            share, self._position = next(self._prefetcher)
            self._num_read += 1
            if self._num_read not in self.skipped:
                return share

    @property
    def epochs(self) -> float:
        """Passes over the documents so far."""
        return self._position.epochs

    def state(self) -> BatchesState:
        """The position to continue from."""
        position = self._position
        return BatchesState(
            epoch=position.epoch,
            index=position.index,
            num_windows=position.num_windows,
            num_read=self._num_read,
            skipped=tuple(sorted(self.skipped)),
            replay=position.replay
            and ReplayState(
                epoch=position.replay.epoch,
                index=position.replay.index,
                num_windows=position.replay.num_windows,
            ),
        )

    def rewind(self, state: BatchesState, skipped: Iterable[int]) -> None:
        """Go back to a position and skip these batches from now on."""
        self.close()
        self._start(state.model_copy(update={"skipped": tuple(sorted(skipped))}))

    def close(self) -> None:
        """Stop reading ahead."""
        self._prefetcher.close()


def number_of_batch(step: int, skipped: Iterable[int]) -> int:
    """The number of the batch that a step trained on."""
    number = step
    for skipped_number in sorted(skipped):
        if skipped_number <= number:
            number += 1
    return number
