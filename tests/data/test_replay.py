"""Older windows among the new ones: exact shares, each text in its own order."""

from fractions import Fraction
from itertools import chain, islice, pairwise

import numpy as np
import pytest
import torch
from conftest import (
    TOKEN_ROLES,
    VOCAB_SIZE,
    MemoryTokens,
    random_documents,
    tiny_config,
    tiny_reader,
)

from electra_cli.batch import Batch
from electra_cli.data.batches import Position, WindowReader, iter_windows, read_all
from electra_cli.data.dealing import iter_shares
from electra_cli.data.replay import Replay, iter_mixed_windows

CONFIG = tiny_config()


def older_reader() -> WindowReader:
    tokens = MemoryTokens(random_documents(15, 100, VOCAB_SIZE, seed=9))
    return WindowReader(tokens, TOKEN_ROLES, CONFIG.data, 0.15, 0, first_document=40)


def mixed(share: str, batch_size: int, position: Position | None = None, first: int = 0):
    replay = Replay(older_reader(), Fraction(share), first)
    return iter_mixed_windows(tiny_reader(CONFIG), replay, batch_size, position or Position())


@pytest.mark.parametrize(("share", "size"), [("0.1", 8), ("0.3", 10), ("0.25", 3), ("0.999", 7)])
def test_the_share_is_exact_after_every_batch(share, size):
    older = 0
    for number, (windows, _) in enumerate(islice(mixed(share, size), 200), 1):
        counts = [(len(some), reader._first_document > 0) for reader, _, some in windows]
        assert sum(count for count, _ in counts) == size
        older += sum(count for count, is_old in counts if is_old)
        assert older == int(Fraction(share) * size * number)


def test_each_text_goes_on_in_its_own_order():
    found = {False: [], True: []}
    for windows, _ in islice(mixed("0.3", 10), 60):
        for reader, epoch, some in windows:
            found[reader._first_document > 0] += [(epoch, number) for number in some.tolist()]
    for is_old, reader in ((False, tiny_reader(CONFIG)), (True, older_reader())):
        plain = islice(iter_windows(reader, 10, Position()), 60)
        alone = [(e, n) for windows, _ in plain for _, e, some in windows for n in some.tolist()]
        assert found[is_old] == alone[: len(found[is_old])]
    assert found[True][-1][0] >= 2  # the older text is read several times


def test_it_goes_on_exactly_from_any_batch():
    whole = [(read_all(windows), after) for windows, after in islice(mixed("0.3", 7), 40)]
    for done in (1, 13, 27):
        rest = mixed("0.3", 7, whole[done - 1][1], done)
        for (windows, after), (batch, expected) in zip(
            islice(rest, 40 - done), whole[done:], strict=True
        ):
            assert after == expected
            again = read_all(windows)
            assert torch.equal(again.input_ids, batch.input_ids)
            assert torch.equal(again.sample_noise, batch.sample_noise)


def test_shares_are_dealt_of_both_texts_and_documents_keep_apart():
    replay = Replay(older_reader(), Fraction("0.3"))
    stream = iter_shares(tiny_reader(CONFIG), 20, Position(), 4, replay=replay)
    plain = [read_all(windows) for windows, _ in islice(mixed("0.3", 20), 10)]

    def windows_of(batch: Batch) -> list[tuple[int, ...]]:
        starts = batch.cu_seqlens.tolist()
        ids = batch.input_ids.tolist()
        return sorted(tuple(ids[a:b]) for a, b in pairwise(starts))

    for (share, _), batch in zip(stream, plain, strict=False):
        assert share.num_tokens == batch.num_tokens
        dealt = chain.from_iterable(windows_of(part) for _, part in share.parts)
        assert sorted(dealt) == windows_of(batch)
        documents = share.document_ids.numpy()
        assert (documents >= 40).sum() == 6
        assert np.all(documents < 55)
