from itertools import pairwise

import torch
from conftest import tiny_config, tiny_reader
from torch import nn

from electra_cli.model.attention import PackedLayout, packed_attention


def test_each_sequence_sees_itself_alone():
    batch = tiny_reader(tiny_config()).read(0, 0, 6)
    draw = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 1, 2, batch.num_tokens, 4, generator=draw)
    layout = PackedLayout.of(batch)
    found, _ = packed_attention(nn.Module(), query, key, value, None, layout=layout, scaling=0.5)
    bounds = batch.cu_seqlens.tolist()
    for begin, end in pairwise(bounds):
        window = slice(begin, end)
        scores = query[0, :, window] @ key[0, :, window].transpose(1, 2) * 0.5
        expected = (scores.softmax(2) @ value[0, :, window]).transpose(0, 1)
        torch.testing.assert_close(found[0, window], expected)


def test_the_layout_puts_every_token_in_its_place():
    batch = tiny_reader(tiny_config()).read(0, 0, 6)
    layout = PackedLayout.of(batch)
    tokens = torch.arange(batch.num_tokens)
    padded = tokens[layout.pad_index]
    assert torch.equal(padded.flatten()[layout.unpad_index], tokens)
    assert torch.equal(padded[layout.key_mask[:, 0, 0]], tokens)
