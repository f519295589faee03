"""The order of windows, the Batches made of them, and the position to continue from."""

# Shapes: B windows of a batch, C tokens of their contents, T tokens with special ones.

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from electra_cli.batch import Batch
from electra_cli.config import DataConfig
from electra_cli.data.counter_random import Purpose, permute, uniform
from electra_cli.data.masking import choose_masked, count_masked, sample_noise, shows_mask
from electra_cli.data.windows import WindowTable, cut_segments, is_single_segment

# Permute this many windows at once: numpy's call overhead is fixed.
_PERMUTED_WINDOWS = 4_096


class Tokens(Protocol):
    """The documents of one split (electra_cli.data.shards.TokenShards)."""

    offsets: NDArray[np.int64]

    def gather(self, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """The tokens of many ranges, one after the other."""


@dataclass(frozen=True)
class TokenRoles:
    """The ids that making batches needs: special ones, and which begin a word."""

    cls_id: int
    sep_id: int
    mask_id: int
    begins_word: NDArray[np.bool_]  # [V]


@dataclass(frozen=True)
class Position:
    """The next window to read: its epoch, and its place in the epoch's order."""

    epoch: int = 0
    index: int = 0
    num_windows: int = 0  # of that epoch; 0 before the first batch
    replay: "Position | None" = None  # in the older text, where there is some

    @property
    def epochs(self) -> float:
        """Passes over the documents so far."""
        return self.epoch + (self.index / self.num_windows if self.num_windows else 0.0)


class WindowReader:
    """Turns windows of one split into Batches.

    Keeps the window tables of two epochs: a batch may begin in one and end in the next.
    """

    def __init__(
        self,
        tokens: Tokens,
        token_roles: TokenRoles,
        data: DataConfig,
        mask_fraction: float,
        seed: int,
        first_document: int = 0,
    ) -> None:
        """Documents are numbered from `first_document` on."""
        self._tokens = tokens
        self._token_roles = token_roles
        self._data = data
        self._mask_fraction = mask_fraction
        self._seed = seed
        self._first_document = first_document
        self._tables: dict[int, WindowTable] = {}  # by epoch; threads and copies share them

    def masking(self, mask_fraction: float) -> "WindowReader":
        """The same windows with more or fewer masked tokens."""
        changed = copy.copy(self)
        changed._mask_fraction = mask_fraction
        return changed

    def num_windows(self, epoch: int) -> int:
        """Windows of that epoch."""
        return len(self._table_of(epoch))

    def _table_of(self, epoch: int) -> WindowTable:
        table = self._tables.get(epoch)
        if table is None:
            table = WindowTable(self._tokens.offsets, self._data, self._seed, epoch)
            for older in sorted(self._tables)[:-1]:
                self._tables.pop(older, None)
            self._tables[epoch] = table
        return table

    def order(self, epoch: int, first: int, stop: int) -> NDArray[np.int64]:
        """Numbers of the windows at places [first, stop) of the epoch's order, or to its end."""
        num_windows = self.num_windows(epoch)
        places = np.arange(first, min(stop, num_windows))
        return permute(places, num_windows, self._seed, epoch)

    def read(self, epoch: int, first: int, stop: int) -> Batch:
        """The windows at places [first, stop) of the epoch's order."""
        return self.read_windows(epoch, self.order(epoch, first, stop))

    def read_windows(self, epoch: int, windows: NDArray[np.int64]) -> Batch:
        """These windows of the epoch, by their numbers [B]."""
        return self._pack(epoch, *self._table_of(epoch).starts_and_lengths(windows))

    def content_lengths(self, epoch: int, windows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Tokens of these windows [B] without special ones, which need not be read for that."""
        return self._table_of(epoch).starts_and_lengths(windows)[1]

    def count(self, epoch: int, windows: NDArray[np.int64]) -> "Counts":
        """The figures of read_windows without packing them: a tenth of its time."""
        starts, lengths = self._table_of(epoch).starts_and_lengths(windows)
        content = self._tokens.gather(starts, lengths)
        _, packed_lengths = self._cut(epoch, content, starts, lengths)
        return Counts(
            num_tokens=int(packed_lengths.sum()),
            num_masked=int(self._count_masked(packed_lengths, lengths).sum()),
            squared_lengths=int((packed_lengths * packed_lengths).sum()),
            document_ids=torch.from_numpy(self._documents(starts)),
        )

    def _cut(
        self,
        epoch: int,
        content: NDArray[np.int64],
        starts: NDArray[np.int64],
        lengths: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(length of segment A, length with special tokens) of windows [B], by content [C]."""
        cut = cut_segments(
            self._token_roles.begins_word[content],
            lengths,
            is_single_segment(starts, self._data, self._seed, epoch),
            uniform(self._seed, Purpose.SEGMENT_CUT, epoch, starts),
        )
        return cut, lengths + 2 + (cut < lengths)

    def _count_masked(
        self, packed_lengths: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        counts = count_masked(packed_lengths, self._mask_fraction, self._data.max_seq_length)
        return np.minimum(counts, lengths)

    def _documents(self, starts: NDArray[np.int64]) -> NDArray[np.int64]:
        found = np.searchsorted(self._tokens.offsets, starts, side="right")
        return found - 1 + self._first_document

    def _pack(self, epoch: int, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Batch:
        """Windows by start and content length [B] -> [CLS] A [SEP] B [SEP], one after another."""
        content = self._tokens.gather(starts, lengths)
        cut, packed_lengths = self._cut(epoch, content, starts, lengths)
        cu_seqlens = np.concatenate([[0], np.cumsum(packed_lengths)])
        first = np.cumsum(lengths) - lengths
        within = np.arange(len(content)) - np.repeat(first, lengths)
        in_second = within >= np.repeat(cut, lengths)
        place = np.repeat(cu_seqlens[:-1] + 1, lengths) + within + in_second

        input_ids = np.full(cu_seqlens[-1], self._token_roles.sep_id)
        input_ids[cu_seqlens[:-1]] = self._token_roles.cls_id
        input_ids[place] = content
        position_ids = np.arange(cu_seqlens[-1]) - np.repeat(cu_seqlens[:-1], packed_lengths)
        token_type_ids = position_ids > np.repeat(cut + 1, packed_lengths)

        counts = self._count_masked(packed_lengths, lengths)
        chosen = choose_masked(starts, lengths, counts, self._seed, epoch)
        slot = (np.repeat(starts, lengths)[chosen], within[chosen], self._seed, epoch)
        masked_ids = np.where(shows_mask(*slot), self._token_roles.mask_id, content[chosen])
        return Batch(
            input_ids=torch.from_numpy(input_ids),
            token_type_ids=torch.from_numpy(token_type_ids.astype(np.int64)),
            position_ids=torch.from_numpy(position_ids),
            cu_seqlens=torch.from_numpy(cu_seqlens.astype(np.int32)),
            masked_positions=torch.from_numpy(place[chosen]),
            masked_ids=torch.from_numpy(masked_ids),
            sample_noise=torch.from_numpy(sample_noise(*slot)),
            document_ids=torch.from_numpy(self._documents(starts)),
            max_length=int(packed_lengths.max()),
        )


@dataclass(frozen=True)
class Counts:
    """Figures of some windows."""

    num_tokens: int
    num_masked: int
    squared_lengths: int
    document_ids: torch.Tensor


def join_batches(parts: list[Batch]) -> Batch:
    """One Batch of all windows, in order."""
    if len(parts) == 1:
        return parts[0]
    token_counts = torch.tensor([0] + [part.num_tokens for part in parts[:-1]]).cumsum(0).tolist()

    def join(name: str) -> torch.Tensor:
        return torch.cat([getattr(part, name) for part in parts])

    shifted = [p.cu_seqlens[1:] + before for p, before in zip(parts, token_counts, strict=True)]
    return Batch(
        input_ids=join("input_ids"),
        token_type_ids=join("token_type_ids"),
        position_ids=join("position_ids"),
        cu_seqlens=torch.cat([parts[0].cu_seqlens[:1], *shifted]),
        masked_positions=torch.cat(
            [p.masked_positions + before for p, before in zip(parts, token_counts, strict=True)]
        ),
        masked_ids=join("masked_ids"),
        sample_noise=join("sample_noise"),
        document_ids=join("document_ids"),
        max_length=max(part.max_length for part in parts),
    )


# The windows of a batch as (whose, epoch, their numbers): two items where an epoch ends within it.
Windows = list[tuple[WindowReader, int, NDArray[np.int64]]]


def iter_batches(
    reader: WindowReader, batch_size: int, position: Position
) -> Iterator[tuple[Batch, Position]]:
    """Endless batches, each with the position after it.

    Every batch has `batch_size` windows: at an epoch's end the next epoch completes it.
    """
    for windows, after in iter_windows(reader, batch_size, position):
        yield read_all(windows), after


def iter_windows(
    reader: WindowReader,
    batch_size: int,
    position: Position,
    sizes: Iterator[int] | None = None,
) -> Iterator[tuple[Windows, Position]]:
    """The windows of endless batches, each with the position after it.

    `sizes`: how many windows of each batch these are; None: all of them.
    """
    epoch, index = position.epoch, position.index
    ahead = max(1, _PERMUTED_WINDOWS // batch_size) * batch_size
    order = np.zeros(0, dtype=np.int64)  # the windows from place `index` on
    while True:
        found: Windows = []
        missing = batch_size if sizes is None else next(sizes)
        while missing:
            if not order.size:
                order = reader.order(epoch, index, index + ahead)
            windows, order = order[:missing], order[missing:]
            if windows.size:
                found.append((reader, epoch, windows))
                index += windows.size
                missing -= windows.size
            else:
                epoch, index = epoch + 1, 0
        yield found, Position(epoch, index, reader.num_windows(epoch))


def read_all(windows: Windows) -> Batch:
    """Windows of several readers and epochs in one Batch."""
    return join_batches([reader.read_windows(epoch, some) for reader, epoch, some in windows])


def evaluation_batches(reader: WindowReader, num_windows: int, batch_size: int) -> list[Batch]:
    """The first `num_windows` windows of epoch 0, or all there are: always the same ones."""
    order = reader.order(0, 0, num_windows)
    return [
        reader.read_windows(0, order[first : first + batch_size])
        for first in range(0, len(order), batch_size)
    ]
