"""Single texts as packed tokens, for networks that are only looked at."""

# Shapes: T tokens of a pack, B texts.

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from electra_cli.batch import PackedTokens

TokenIds = NDArray[np.int64]  # of one text: [CLS] ... [SEP]
_TOKENS_PER_PASS = 8_192


def packs_of(texts: Sequence[TokenIds]) -> Iterator[tuple[slice, PackedTokens]]:
    """(which texts, these in one pack), in order; a pass has a bounded number of tokens."""
    first, num_tokens = 0, 0
    for index, ids in enumerate(texts):
        if num_tokens and num_tokens + len(ids) > _TOKENS_PER_PASS:
            yield slice(first, index), _pack(texts[first:index])
            first, num_tokens = index, 0
        num_tokens += len(ids)
    if num_tokens:
        yield slice(first, len(texts)), _pack(texts[first:])


def _pack(texts: Sequence[TokenIds]) -> PackedTokens:
    lengths = np.array([len(ids) for ids in texts])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    input_ids = torch.from_numpy(np.concatenate(texts).astype(np.int64))
    return PackedTokens(
        input_ids=input_ids,
        token_type_ids=torch.zeros_like(input_ids),
        position_ids=torch.from_numpy(np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)),
        cu_seqlens=torch.from_numpy(starts.astype(np.int32)),
        document_ids=torch.arange(len(texts)),
        max_length=int(lengths.max()),
    )
