"""Texts to windows: truncation, whole words, every token accounted for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from electra_cli.finetuning.inputs import InputBuilder, _cut_pair

SENTENCE = "the quick brown fox jumps over the lazy dog".split()


def pop_from_the_longer(first: int, second: int, room: int) -> tuple[int, int]:
    """google-research/electra, classification_tasks.py:296-310, as it is written there."""
    while first + second > room:
        if first > second:
            first -= 1
        else:
            second -= 1
    return first, second


@given(st.integers(0, 80), st.integers(0, 80), st.integers(0, 60))
def test_a_pair_is_cut_as_the_authors_cut_it(first, second, room):
    assert _cut_pair(first, second, room) == pop_from_the_longer(first, second, room)


def test_inputs_are_those_of_transformers(theirs, trained):
    builder = InputBuilder(trained, 64)
    (single,) = builder.texts(["The quick fox"], None)
    (pair,) = builder.texts(["The quick fox"], ["over the lazy dog"])
    expected = theirs("The quick fox")
    assert single.ids.tolist() == expected["input_ids"]
    expected = theirs("The quick fox", "over the lazy dog")
    assert pair.ids.tolist() == expected["input_ids"]
    assert pair.segments.tolist() == expected["token_type_ids"]


def test_what_is_cut_is_counted(trained):
    builder = InputBuilder(trained, 8)
    whole, cut = builder.texts(["the dog", " ".join(SENTENCE)], None)
    assert len(cut.ids) == 8
    assert (cut.ids[0], cut.ids[-1]) == (whole.ids[0], whole.ids[-1])  # [CLS] and [SEP] stay
    counts = builder.counts
    assert counts.cut_examples == 1
    assert counts.tokens - counts.cut_tokens == len(whole.ids) + len(cut.ids) - 4


@pytest.mark.parametrize("length", [8, 12, 64])
def test_every_word_of_a_long_sentence_has_one_slot(trained, length):
    builder = InputBuilder(trained, length)
    sentences = [SENTENCE * 3, SENTENCE[:1]]
    windows = list(builder.sentences(sentences))
    assert all(len(window.ids) <= length for window in windows)
    for number, words in enumerate(sentences):
        found = [word for w in windows if w.example == number for word in w.words]
        assert found == list(range(len(words)))
    first = builder.texts([" ".join(SENTENCE[:1])], None)
    assert windows[-1].ids.tolist() == next(first).ids.tolist()


def test_a_word_that_the_tokenizer_drops_is_counted(trained):
    builder = InputBuilder(trained, 32)
    (window,) = builder.sentences([["the", "\u200b", "dog"]])
    assert window.words == [0, 2]
    assert builder.counts.words_without_tokens == 1


def test_windows_over_a_context_move_on_by_the_stride_and_cover_it(trained):
    context = " ".join(SENTENCE * 6)
    windows = list(InputBuilder(trained, 24).questions(["the fox"], [context], stride=5))
    assert all(len(window.ids) <= 24 for window in windows)
    starts = [next(a for a, b in w.spans if b > a) for w in windows]
    whole = next(InputBuilder(trained, 512).questions(["a"], [context], 128))
    places = [a for a, b in whole.spans if b > a]
    assert starts == [places[5 * n] for n in range(len(windows))]
    covered = {c for w in windows for a, b in w.spans for c in range(a, b)}
    assert covered >= {n for n, c in enumerate(context) if c != " "}


def test_documents_have_a_slot_at_every_token_but_special_ones(trained):
    builder = InputBuilder(trained, 8)
    windows = list(builder.documents([" ".join(SENTENCE)]))
    assert len(windows) > 1
    assert sum(len(window.slots) for window in windows) == builder.counts.tokens
    assert all(window.slots == list(range(1, len(window.ids) - 1)) for window in windows)
