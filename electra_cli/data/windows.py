"""Cut documents into windows of at most max_seq_length tokens.

Pure: no files, no tokenizer, no global randomness. Storage is shards.py's work. Windows tile the
tokens of a split without gap or overlap, so their starts, or their lengths, alone describe them.
"""

# Shapes: D documents, W windows of an epoch, B windows of a batch, C tokens of their contents.

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from electra_cli.config import DataConfig
from electra_cli.data.counter_random import Purpose, uniform
from electra_cli.machine import usable_cores

# A tail shorter than this teaches little; the window before it is cut in half instead.
SHORTEST_TAIL = 8
# Below this many tokens per pass, numpy's overhead dominates: finish the rest one by one.
MIN_PASS_TOKENS = 1_000
WALKED_TOKENS = 1 << 14  # computed together, in documents that are finished one by one
BLOCK_TOKENS = 1 << 25  # of the documents that are cut together, which bounds the memory
_ANCHOR_EVERY = 16  # windows


def is_single_segment(
    starts: NDArray[np.int64], config: DataConfig, seed: int, epoch: int
) -> NDArray[np.bool_]:
    """starts [B] -> [B]: whether the window that begins there has one segment.

    The authors' 10% (build_pretraining_dataset.py:57-65).
    """
    drawn = uniform(seed, Purpose.SINGLE_SEGMENT, epoch, starts)
    return drawn < config.single_segment_fraction


def cut_windows(
    offsets: NDArray[np.int64],
    config: DataConfig,
    seed: int,
    epoch: int,
    min_pass_tokens: int = MIN_PASS_TOKENS,
    walked_tokens: int = WALKED_TOKENS,
) -> NDArray[np.int64]:
    """Document offsets [D + 1] -> starts [W + 1] of the epoch's windows; the last is the end.

    Window i holds tokens starts[i] to starts[i + 1] of one document. 5% are cut shorter than they
    could be, as the authors do (build_pretraining_dataset.py:66-71), but the rest begins the next
    window instead of being dropped. The last two arguments change the speed only.
    """
    positions, ends = offsets[:-1], offsets[1:]
    found = []
    # One pass cuts the next window of every document that has tokens left.
    while positions.size * config.max_seq_length >= min_pass_tokens:
        found.append(positions)
        positions = _next_starts(positions, ends, config, seed, epoch)
        unfinished = positions < ends
        positions, ends = positions[unfinished], ends[unfinished]
    for position, end in zip(positions.tolist(), ends.tolist(), strict=True):
        found.append(np.array(_walk(position, end, config, seed, epoch, walked_tokens)))
    starts = np.concatenate([*found, offsets[-1:]])
    starts.sort()
    return starts


def _next_starts(
    positions: NDArray[np.int64],
    ends: NDArray[np.int64] | int,
    config: DataConfig,
    seed: int,
    epoch: int,
) -> NDArray[np.int64]:
    """Where the windows that begin at `positions` end, in documents that end at `ends`."""
    remaining = ends - positions
    # [CLS] A [SEP] B [SEP], or [CLS] A [SEP]
    single = is_single_segment(positions, config, seed, epoch)
    capacity = config.max_seq_length - 3 + single
    tail = np.minimum(SHORTEST_TAIL, capacity // 2)
    drawn = uniform(seed, Purpose.SHORT_WINDOW, epoch, positions)
    short = np.flatnonzero(drawn < config.short_window_fraction)
    drawn = uniform(seed, Purpose.SHORT_LENGTH, epoch, positions[short])
    length = capacity.copy()
    length[short] = tail[short] + (drawn * (capacity - tail)[short]).astype(np.int64)
    length = np.minimum(length, remaining)
    leaves_crumb = (remaining > length) & (remaining - length < tail)
    whole_or_half = np.where(remaining <= capacity, remaining, remaining // 2)
    return positions + np.where(leaves_crumb, whole_or_half, length)


def _walk(
    position: int, end: int, config: DataConfig, seed: int, epoch: int, walked_tokens: int
) -> list[int]:
    """The starts of one document's windows from `position` on.

    Each start depends on the one before. Computing the next start for every token at once is
    faster than one window at a time, although most of these are never used.
    """
    starts = []
    for first in range(position, end, walked_tokens):
        stop = min(first + walked_tokens, end)
        following = _next_starts(np.arange(first, stop), end, config, seed, epoch).tolist()
        while position < stop:
            starts.append(position)
            position = following[position - first]
    return starts


class WindowTable:
    """The windows of one epoch, by number.

    Keeps the length of each window (one or two bytes) and the start of every _ANCHOR_EVERY-th:
    a billion tokens in windows of 20 are 60 million windows.
    """

    def __init__(
        self,
        offsets: NDArray[np.int64],
        config: DataConfig,
        seed: int,
        epoch: int,
        block_tokens: int = BLOCK_TOKENS,
    ) -> None:
        """offsets [D + 1] as cut_windows takes them; `block_tokens` changes memory and speed."""
        length_type = np.min_scalar_type(config.max_seq_length)

        def cut(first: int, stop: int) -> NDArray[np.unsignedinteger]:
            starts = cut_windows(offsets[first : stop + 1], config, seed, epoch)
            return np.diff(starts).astype(length_type)

        # Documents are cut independently, so blocks of them give the same windows.
        blocks = np.searchsorted(offsets, np.arange(offsets[0], offsets[-1], block_tokens))
        bounds = np.append(np.unique(blocks), len(offsets) - 1).tolist()
        with ThreadPoolExecutor(usable_cores()) as threads:
            lengths = list(threads.map(cut, bounds[:-1], bounds[1:]))
        self._lengths = np.concatenate([np.zeros(0, dtype=length_type), *lengths])
        whole = len(self._lengths) // _ANCHOR_EVERY * _ANCHOR_EVERY
        sums = self._lengths[:whole].reshape(-1, _ANCHOR_EVERY).sum(axis=1, dtype=np.int64)
        self._anchors = offsets[0] + np.concatenate([[0], np.cumsum(sums)])

    def __len__(self) -> int:
        return len(self._lengths)

    def starts_and_lengths(
        self, windows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Numbers of windows [B] -> the first token of each [B], and its length in tokens [B]."""
        anchor = windows // _ANCHOR_EVERY
        before = anchor[:, None] * _ANCHOR_EVERY + np.arange(_ANCHOR_EVERY)
        is_before = before < windows[:, None]
        between = self._lengths[np.where(is_before, before, 0)] * is_before
        starts = self._anchors[anchor] + between.sum(axis=1, dtype=np.int64)
        return starts, self._lengths[windows].astype(np.int64)


def cut_segments(
    begins_word: NDArray[np.bool_],
    lengths: NDArray[np.int64],
    single: NDArray[np.bool_],
    drawn: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Length of segment A in each window [B]; the whole length where there is no B.

    begins_word [C] says which content tokens begin a word. drawn [B] in [0, 1) chooses one of them,
    each with the same chance, as the first of segment B. A window of a single word has one segment.
    """
    ends = np.cumsum(lengths)
    first = ends - lengths
    candidates = begins_word.copy()
    candidates[first] = False  # both segments have a token
    positions = np.flatnonzero(candidates)
    lower = np.searchsorted(positions, first)
    count = np.searchsorted(positions, ends) - lower
    chosen = lower + (drawn * count).astype(np.int64)
    has_two = ~single & (count > 0)
    cut = lengths.copy()
    cut[has_two] = positions[chosen[has_two]] - first[has_two]
    return cut
