"""Batches: the contract between data and model.

Sequences stand one after the other in one row of real tokens, so nothing is ever padded.
"""

# Shapes: T tokens of a packed batch, B sequences, N slots.

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class PackedTokens:
    """Whole windows `[CLS] A [SEP] B [SEP]`, and N slots in them that something is asked of."""

    # Names of the tensors [N, ...] that speak of slots; the first are ascending indices into [T].
    slot_fields: ClassVar[tuple[str, ...]] = ()

    input_ids: Tensor  # [T] int64, the original text
    token_type_ids: Tensor  # [T] int64, 0 for A, 1 for B
    position_ids: Tensor  # [T] int64, from 0 in each window
    cu_seqlens: Tensor  # [B + 1] int32, where each window begins; the last is T
    document_ids: Tensor  # [B] int64, the document (or labelled example) of each window
    max_length: int  # of the longest window; on the host, so that reading it waits for no device

    @property
    def num_sequences(self) -> int:
        """B."""
        return self.cu_seqlens.shape[0] - 1

    @property
    def num_tokens(self) -> int:
        """T."""
        return self.input_ids.shape[0]

    @property
    def num_slots(self) -> int:
        """N."""
        slots: Tensor = getattr(self, self.slot_fields[0])
        return slots.shape[0]

    @property
    def squared_lengths(self) -> int:
        """Sum of the windows' squared lengths, which attention's work grows with."""
        lengths = self.cu_seqlens.diff().long()
        return int((lengths * lengths).sum())

    def share(self, num_sequences: int) -> "Share[Self]":
        """A step of one process, in micro-batches of at most `num_sequences` windows."""
        parts = tuple(enumerate(self.split(num_sequences)))
        figures = (self.num_tokens, self.num_slots, self.squared_lengths, self.document_ids)
        return Share(parts, *figures)

    def to(self, device: torch.device) -> Self:
        """Copy every tensor to `device`; from pinned memory, the host does not wait for it."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        """A copy in pinned host memory, which a GPU reads by itself.

        It may be dropped at once after to(): torch's allocator of pinned memory gives a block out
        again only when the copies from it are done (ATen/native/cuda/Copy.cu records each with
        ATen/core/CachingHostAllocator.h, also those from a slice of a block).
        """
        return self._map(Tensor.pin_memory)

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        tensors = {n: change(value) for n, value in vars(self).items() if isinstance(value, Tensor)}
        return type(self)(**tensors, max_length=self.max_length)

    def split(self, num_sequences: int) -> Iterator[Self]:
        """Micro-batches of at most `num_sequences` windows, in order; as pinned as this batch.

        Host tensors only.
        """
        if num_sequences >= self.num_sequences:
            yield self
            return
        places, *others = self.slot_fields
        positions: Tensor = getattr(self, places)
        for first in range(0, self.num_sequences, num_sequences):
            cu_seqlens = self.cu_seqlens[first : first + num_sequences + 1]
            begin, end = int(cu_seqlens[0]), int(cu_seqlens[-1])
            tokens = slice(begin, end)
            bounds = torch.tensor([begin, end], dtype=positions.dtype)
            slots = slice(*torch.searchsorted(positions, bounds).tolist())
            of_slots = {name: getattr(self, name)[slots] for name in others}
            yield type(self)(
                **{places: _shift(positions[slots], begin), **of_slots},
                input_ids=self.input_ids[tokens],
                token_type_ids=self.token_type_ids[tokens],
                position_ids=self.position_ids[tokens],
                cu_seqlens=_shift(cu_seqlens, begin),
                document_ids=self.document_ids[first : first + num_sequences],
                max_length=int(cu_seqlens.diff().max()),
            )


@dataclass(frozen=True, kw_only=True)
class Batch(PackedTokens):
    """What pre-training reads: text, and what to mask in it."""

    slot_fields = ("masked_positions", "masked_ids", "sample_noise")

    masked_positions: Tensor  # [N] int64, ascending indices into [T]
    masked_ids: Tensor  # [N] int64, what the generator sees there: [MASK] or the original
    sample_noise: Tensor  # [N] float32 in [0, 1), one number per sample

    @property
    def num_masked(self) -> int:
        """N."""
        return self.num_slots

    @property
    def is_special(self) -> Tensor:
        """[T] bool: True at [CLS] and [SEP]."""
        begins = self.position_ids == 0
        ends = begins.roll(-1)  # the token after the last one is the first, which begins a window
        second = self.token_type_ids == 1
        return begins | ends | (~second & second.roll(-1))


@dataclass(frozen=True, kw_only=True)
class LabelledBatch(PackedTokens):
    """What fine-tuning reads: text, and what is right at some places of it."""

    slot_fields = ("positions", "targets")

    positions: Tensor  # [N] int64, ascending indices into [T]: [CLS], or words' first pieces
    targets: Tensor  # [N, ...], as the task's loss takes them


Packed = TypeVar("Packed", bound=PackedTokens)


@dataclass(frozen=True)
class Share(Generic[Packed]):
    """What one process computes of a step, and the figures of the whole step."""

    parts: Sequence[tuple[int, Packed]]  # its micro-batches by their numbers in the step
    num_tokens: int
    num_slots: int
    squared_lengths: int
    document_ids: Tensor

    def pin_memory(self) -> Self:
        """With parts in pinned host memory."""
        return replace(self, parts=[(number, part.pin_memory()) for number, part in self.parts])


def _shift(tensor: Tensor, by: int) -> Tensor:
    """tensor - by, in pinned memory where the tensor is."""
    shifted = torch.empty_like(tensor, pin_memory=tensor.is_pinned())
    return torch.sub(tensor, by, out=shifted)
