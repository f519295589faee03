"""A batch dealt out by length: to micro-batches, and to the processes that compute them."""

# Shapes: B windows of a batch.

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from electra_cli.batch import Batch, Share
from electra_cli.data.batches import Counts, Position, WindowReader, Windows, iter_windows, read_all
from electra_cli.data.replay import Replay, iter_mixed_windows


def deal(lengths: NDArray[np.int64], num_parts: int) -> list[NDArray[np.int64]]:
    """Places in `lengths` [B], dealt to `num_parts` parts of about equally many tokens.

    The longest are dealt first, to the parts 0 to n - 1 and then n - 1 to 0 and so on (snake
    order), so that numbers of windows differ by one at most. A function of the lengths alone; one
    part has all places in order.
    """
    rounds, seat = np.divmod(np.arange(len(lengths)), num_parts)
    part_of = np.empty(len(lengths), dtype=np.int64)
    longest_first = np.argsort(-lengths, kind="stable")
    part_of[longest_first] = np.where(rounds % 2 == 0, seat, num_parts - 1 - seat)
    return [np.flatnonzero(part_of == part) for part in range(num_parts)]


def iter_shares(
    reader: WindowReader,
    batch_size: int,
    position: Position,
    num_parts: int,
    rank: int = 0,
    num_processes: int = 1,
    mask_fractions: Iterator[float] | None = None,
    replay: Replay | None = None,
) -> Iterator[tuple[Share[Batch], Position]]:
    """The same batches in `num_parts` micro-batches, dealt in turn to `num_processes` processes.

    Which windows a micro-batch has depends on their lengths and on `num_parts`, and on nothing
    else: `num_processes`, which divides it, changes no micro-batch. `mask_fractions` has a number
    for each batch; None: that of the reader. `replay`: older text in a share of the windows.
    """
    if replay is None:
        drawn = iter_windows(reader, batch_size, position)
    else:
        drawn = iter_mixed_windows(reader, replay, batch_size, position)
    for whole, after in drawn:
        windows = whole
        if mask_fractions is not None:
            fraction = next(mask_fractions)
            windows = [(each.masking(fraction), epoch, some) for each, epoch, some in whole]
        if num_parts == 1:  # there is nothing to deal
            batch = read_all(windows)
            yield batch.share(batch.num_sequences), after
            continue
        lengths = np.concatenate([each.content_lengths(epoch, n) for each, epoch, n in windows])
        dealt = enumerate(deal(lengths, num_parts))
        own = [(part, places) for part, places in dealt if part % num_processes == rank]
        parts = [(part, read_all(_choose(windows, at))) for part, at in own if at.size]
        # The other processes' windows are counted, as losses are means over the whole batch.
        is_others = np.ones(len(lengths), dtype=bool)
        is_others[np.concatenate([places for _, places in own])] = False
        others = [
            each.count(epoch, some)
            for each, epoch, some in _choose(windows, np.flatnonzero(is_others))
        ]
        counted: list[Batch | Counts] = [*(batch for _, batch in parts), *others]
        share = Share(
            parts,
            num_tokens=sum(each.num_tokens for each in counted),
            num_slots=sum(each.num_masked for each in counted),
            squared_lengths=sum(each.squared_lengths for each in counted),
            document_ids=torch.cat([each.document_ids for each in counted]),
        )
        yield share, after


def _choose(windows: Windows, places: NDArray[np.int64]) -> Windows:
    """Those of a batch's windows that stand at these places of it, ascending."""
    chosen, first = [], 0
    for reader, epoch, numbers in windows:
        here = places[(places >= first) & (places < first + len(numbers))] - first
        if here.size:
            chosen.append((reader, epoch, numbers[here]))
        first += len(numbers)
    return chosen
