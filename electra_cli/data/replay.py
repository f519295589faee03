"""Older text in a share of a run's windows, against forgetting."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import count, tee

from electra_cli.data.batches import Position, WindowReader, Windows, iter_windows


@dataclass(frozen=True)
class Replay:
    """Where older windows come from, and how many of them there are."""

    reader: WindowReader
    share: Fraction  # of the windows of a run
    first_batch: int = 0  # the batches before the next one

    def sizes(self, batch_size: int) -> Iterator[int]:
        """Older windows in each batch: after n batches their number is n times the share, exactly.

        Rounded down to whole windows, as a function of the batch's number alone.
        """
        per_batch = self.share * batch_size
        for number in count(self.first_batch):
            yield int(per_batch * (number + 1)) - int(per_batch * number)


def iter_mixed_windows(
    reader: WindowReader, replay: Replay, batch_size: int, position: Position
) -> Iterator[tuple[Windows, Position]]:
    """iter_windows of both texts; each goes through its windows in an order of its own."""
    for_new, for_old = tee(replay.sizes(batch_size))
    new = iter_windows(reader, batch_size, position, (batch_size - size for size in for_new))
    old = iter_windows(replay.reader, batch_size, position.replay or Position(), for_old)
    for (windows, after), (older, older_after) in zip(new, old, strict=True):
        yield (
            [*windows, *older],
            Position(after.epoch, after.index, after.num_windows, older_after),
        )
