"""Texts to ids: those of AutoTokenizer, by both engines."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_tokenizer import TEXTS, encode, encode_as_transformers, fast_tokenizer
from tokenizers import Tokenizer as Engine
from tokenizers import models
from transformers import AutoTokenizer, BertTokenizer

from electra_cli.data.bert_tokenizer import SPECIAL_TOKENS
from electra_cli.preparing.chunks import cut_text
from electra_cli.preparing.encoder import (
    FastEngine,
    NoFastEngineError,
    TextEncoder,
    open_fast_engine,
)


def no_fast_engine(tokenizer_json: str) -> FastEngine:
    raise NoFastEngineError("a test wants the slow one")


def test_the_ids_are_those_of_autotokenizer_on_the_saved_folder(trained, tokenizer_folder):
    opened = AutoTokenizer.from_pretrained(tokenizer_folder)
    assert opened.is_fast
    assert encode(trained, TEXTS) == [encode_as_transformers(opened, text) for text in TEXTS]


@given(st.lists(st.text(max_size=60), max_size=4))
@settings(max_examples=60, deadline=None)
def test_any_unicode_has_the_ids_of_autotokenizer(trained, theirs, texts):
    ids, lengths = TextEncoder(trained).encode([text.encode() for text in texts])
    expected = [encode_as_transformers(theirs, text) for text in texts]
    assert lengths.tolist() == [len(one) for one in expected]
    assert ids.tolist() == [index for one in expected for index in one]


def test_text_never_becomes_a_special_token(trained):
    (ids,) = encode(trained, ["[MASK] [SEP] [CLS] [PAD] x[MASK]y"])
    assert not {0, 2, 3, 4} & set(ids)
    assert "".join(trained.convert_ids_to_tokens(ids)).replace("##", "").startswith("[mask]")


def test_nothing_to_encode_is_no_tokens(trained):
    assert [part.size for part in TextEncoder(trained).encode([])] == [0, 0]
    ids, lengths = TextEncoder(trained).encode([b"", b" ", b"the", b""])
    assert lengths.tolist() == [0, 0, 1, 0]
    assert len(ids) == 1


def test_a_vocabulary_over_65536_ids_needs_32_bits():
    vocabulary = {token: i for i, token in enumerate(SPECIAL_TOKENS)}
    vocabulary |= {f"w{i}": i + 5 for i in range(70_000)}
    big = BertTokenizer(vocab=vocabulary)
    ids, _ = TextEncoder(big).encode([b"w69999 w1"])
    assert ids.dtype == np.uint32
    assert ids.tolist() == [70_004, 6]


def test_a_word_of_a_million_letters_is_one_unknown_token_for_both_engines(trained, theirs):
    text = "a" * 350_000 + " the end"
    assert "".join(cut_text(text)) == text
    expected = encode_as_transformers(theirs, text)
    assert expected[0] == trained.unk_token_id
    assert expected[1] != trained.unk_token_id
    for open_engine in (open_fast_engine, no_fast_engine):
        encoder = TextEncoder(trained, open_engine=open_engine)
        assert encoder.encode([text.encode()])[0].tolist() == expected


class WrongEngine:
    """The fast engine, but for one word."""

    def __init__(self, tokenizer_json: str) -> None:
        self._right = open_fast_engine(tokenizer_json)

    def encode_batch(self, texts: Sequence[bytes], **options: bool) -> Any:
        changed = [text.replace(b"first", b"second") for text in texts]
        return self._right.encode_batch(changed, **options)


def test_an_engine_that_differs_is_not_used(trained):
    texts = [b"the first text", b"the [MASK] second"]
    encoder = TextEncoder(trained)
    encoder.check_fast_engine(texts)
    assert encoder.is_fast
    assert encoder.why_slow is None
    right, lengths = encoder.encode(texts)

    encoder = TextEncoder(trained, open_engine=WrongEngine)
    assert encoder.is_fast
    assert not np.array_equal(encoder.encode(texts)[0], right)
    encoder.check_fast_engine(texts)
    assert not encoder.is_fast
    assert "differ" in str(encoder.why_slow)
    ids, found = encoder.encode(texts)
    assert np.array_equal(ids, right)
    assert np.array_equal(found, lengths)


def test_a_tokenizer_the_fast_engine_cannot_read_is_encoded_by_the_other(tmp_path):
    engine = Engine(models.BPE({"a": 0, "[UNK]": 1}, []))
    special = {"pad_token": "a", "cls_token": "a", "sep_token": "a", "mask_token": "a"}
    encoder = TextEncoder(fast_tokenizer(engine, **special))
    assert not encoder.is_fast
    assert "cannot read" in str(encoder.why_slow)
    assert encoder.encode([b"aa"])[1].tolist() == [2]


@given(
    st.fixed_dictionaries(
        {
            "clean_text": st.booleans(),
            "handle_chinese_chars": st.booleans(),
            "strip_accents": st.sampled_from([None, True, False]),
            "lowercase": st.booleans(),
        }
    ),
    st.sampled_from([1, 2, 5, 100]),
    st.lists(st.text("abÀÉe\u0301\u0323İıßſKﬁ中か゛กั한\f\x1c\x85\u2028\u200d\ufeff\ufffd ,#[\n")),
)
@settings(max_examples=100, deadline=None)
def test_both_engines_agree_on_every_setting_of_bert(trained, normalizer, longest, texts):
    content = json.loads(trained.backend_tokenizer.to_str())
    content["normalizer"].update(normalizer)
    content["model"]["max_input_chars_per_word"] = longest
    special = {f"{role}_token": f"[{role.upper()}]" for role in ("pad", "cls", "sep", "mask")}
    tokenizer = fast_tokenizer(Engine.from_str(json.dumps(content)), unk_token="[UNK]", **special)
    fast = TextEncoder(tokenizer)
    assert fast.is_fast
    slow = TextEncoder(tokenizer, open_engine=no_fast_engine)
    raw = [text.encode() for text in texts]
    for ours, theirs in zip(fast.encode(raw), slow.encode(raw), strict=True):
        assert ours.tolist() == theirs.tolist()


@pytest.mark.slow
def test_both_engines_agree_on_every_character(trained):
    points = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    raw = [f"the{chr(point)}text {chr(point)}".encode() for point in points]
    slow = TextEncoder(trained, open_engine=no_fast_engine)
    for ours, theirs in zip(TextEncoder(trained).encode(raw), slow.encode(raw), strict=True):
        assert np.array_equal(ours, theirs)
