"""Long texts are cut without changing their ids."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_tokenizer import encode, encode_as_transformers, long_text

from electra_cli.preparing.chunks import PIECE_CHARS, cut_text


@pytest.mark.parametrize("kind", ["spaces", "lines", "chinese", "no blanks"])
def test_long_texts_are_cut_without_changing_their_ids(trained, theirs, kind: str):
    text = long_text(kind)
    pieces = list(cut_text(text))
    assert len(pieces) >= 3
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= PIECE_CHARS
    short = "before and after"
    assert encode(trained, [short, text, short]) == [
        encode_as_transformers(theirs, one) for one in (short, text, short)
    ]


@given(st.text(alphabet="ab ,\n天\u0301", max_size=300))
@settings(max_examples=200, deadline=None)
def test_every_cut_keeps_the_ids(trained, theirs, text):
    pieces = list(cut_text(text, piece_chars=40, searched_chars=30))
    assert "".join(pieces) == text
    joined = [index for piece in pieces for index in encode_as_transformers(theirs, piece)]
    assert joined == encode_as_transformers(theirs, text)
