"""Cut documents into windows of at most max_seq_length tokens.

Pure: no files, no tokenizer, no global randomness. Storage is shards.py's work. Windows tile the
tokens of a split without gap or overlap, so their starts alone describe them.
"""

# Shapes: D documents, W windows of an epoch, B windows of a batch, C tokens of their contents.

import numpy as np
from numpy.typing import NDArray

from electra_cli.config import DataConfig
from electra_cli.data.counter_random import Purpose, uniform

# A tail shorter than this teaches little; the window before it is cut in half instead.
SHORTEST_TAIL = 8


def is_single_segment(
    starts: NDArray[np.int64], config: DataConfig, seed: int, epoch: int
) -> NDArray[np.bool_]:
    """starts [B] -> [B]: whether the window that begins there has one segment.

    The authors' 10% (build_pretraining_dataset.py:57-65).
    """
    drawn = uniform(seed, Purpose.SINGLE_SEGMENT, epoch, starts)
    return drawn < config.single_segment_fraction


def cut_windows(
    offsets: NDArray[np.int64], config: DataConfig, seed: int, epoch: int
) -> NDArray[np.int64]:
    """Document offsets [D + 1] -> starts [W + 1] of the epoch's windows; the last is the end.

    Window i holds tokens starts[i] to starts[i + 1] of one document. 5% are cut shorter than they
    could be, as the authors do (build_pretraining_dataset.py:66-71), but what is cut off begins
    the next window instead of being dropped. Costs 8 bytes a window.
    """
    positions, ends = offsets[:-1], offsets[1:]
    found = []
    while positions.size:  # one turn cuts the next window of every document that has tokens left
        found.append(positions)
        remaining = ends - positions
        # [CLS] A [SEP] B [SEP], or [CLS] A [SEP]
        single = is_single_segment(positions, config, seed, epoch)
        capacity = config.max_seq_length - 3 + single
        tail = np.minimum(SHORTEST_TAIL, capacity // 2)
        short = uniform(seed, Purpose.SHORT_WINDOW, epoch, positions) < config.short_window_fraction
        drawn = uniform(seed, Purpose.SHORT_LENGTH, epoch, positions)
        shorter = tail + (drawn * (capacity - tail)).astype(np.int64)
        length = np.minimum(np.where(short, shorter, capacity), remaining)
        leaves_crumb = (remaining > length) & (remaining - length < tail)
        whole_or_half = np.where(remaining <= capacity, remaining, remaining // 2)
        positions = positions + np.where(leaves_crumb, whole_or_half, length)
        unfinished = positions < ends
        positions, ends = positions[unfinished], ends[unfinished]
    starts = np.concatenate([*found, offsets[-1:]])
    starts.sort()
    return starts


def cut_segments(
    begins_word: NDArray[np.bool_],
    lengths: NDArray[np.int64],
    single: NDArray[np.bool_],
    drawn: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Length of segment A in each window [B]; the whole length where there is no B.

    begins_word [C] says which content tokens begin a word, drawn [B] chooses one of them, all
    alike, as the first of segment B. A window of a single word has one segment.
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
