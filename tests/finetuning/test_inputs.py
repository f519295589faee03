"""Texts to windows: whole texts, whole words, every token accounted for."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from electra_cli.finetuning.inputs import InputBuilder
from electra_cli.preparing.encoder import TextEncoder

SENTENCE = "the quick brown fox jumps over the lazy dog".split()


def test_inputs_are_those_of_transformers(theirs, trained):
    builder = InputBuilder(trained, 64)
    (single,) = builder.texts(["The quick fox"], None)
    (pair,) = builder.texts(["The quick fox"], ["over the lazy dog"])
    expected = theirs("The quick fox")
    assert single.ids.tolist() == expected["input_ids"]
    expected = theirs("The quick fox", "over the lazy dog")
    assert pair.ids.tolist() == expected["input_ids"]
    assert pair.segments.tolist() == expected["token_type_ids"]


def test_a_literal_special_token_is_text_as_in_pre_training(trained):
    text = "the [SEP] quick [MASK] fox [CLS]"
    expected = TextEncoder(trained).encode([text.encode()])[0].tolist()
    builder = InputBuilder(trained, 64)
    (single,), (document,) = builder.texts([text], None), builder.documents([text])
    (words,) = builder.sentences([text.split()])
    assert len(words.slots) == len(text.split())
    for window in (single, document, words):
        assert window.ids[1:-1].tolist() == expected
    for window in (*builder.texts([text], [text]), *builder.questions([text], [text], 9)):
        for segment in (0, 1):
            (of_segment,) = np.nonzero(window.segments == segment)
            assert window.ids[of_segment][1 - segment : -1].tolist() == expected


def contents(window, special: int) -> list[int]:
    """The ids but for [CLS] and each [SEP]."""
    return [n for n in window.ids.tolist() if n != special and n != window.ids[0]]


@given(st.integers(0, 60), st.integers(8, 40))
def test_every_token_of_a_long_text_is_in_one_window(trained, length, room):
    text = " ".join((SENTENCE * 8)[:length])
    (whole,) = InputBuilder(trained, 512).texts([text], None)
    builder = InputBuilder(trained, room)
    windows = list(builder.texts(["the dog", text], None))
    sep = int(whole.ids[-1])
    split = [n for w in windows[1:] for n in contents(w, sep)]
    assert split == contents(whole, sep)
    assert all(len(w.ids) <= room and w.ids[-1] == sep and w.slots == [0] for w in windows)
    assert [w.example for w in windows] == [0] + [1] * (len(windows) - 1)
    assert builder.counts.split_examples == (len(windows) > 2)
    assert builder.counts.cut_tokens == 0


@pytest.mark.parametrize("is_first_longer", [True, False])
def test_the_longer_text_of_a_pair_is_split_beside_the_other(trained, is_first_longer):
    pair = ("the dog", " ".join(SENTENCE * 3))
    one, two = pair[::-1] if is_first_longer else pair
    builder = InputBuilder(trained, 16)
    windows = list(builder.texts([one], [two]))
    (whole,) = InputBuilder(trained, 512).texts([one], [two])
    longer, other = (0, 1) if is_first_longer else (1, 0)
    assert len(windows) > 1
    assert all(len(window.ids) <= 16 for window in windows)
    sep = int(whole.ids[-1])

    def side(window, segment):
        return [n for n, s in zip(window.ids.tolist(), window.segments, strict=True)
                if s == segment and n not in (sep, int(whole.ids[0]))]  # fmt: skip

    assert [n for w in windows for n in side(w, longer)] == side(whole, longer)
    assert all(side(window, other) == side(whole, other) for window in windows)
    assert (builder.counts.split_examples, builder.counts.cut_tokens) == (1, 0)


def test_of_two_long_texts_the_shorter_is_cut_to_half_a_window_and_counted(trained):
    builder = InputBuilder(trained, 11)  # [CLS], two [SEP], four tokens of each
    windows = list(builder.texts([" ".join(SENTENCE)], [" ".join(SENTENCE * 2)]))
    (whole,) = InputBuilder(trained, 512).texts([" ".join(SENTENCE)], None)
    length = len(whole.ids) - 2
    assert all(window.segments.tolist().count(0) == 1 + 4 + 1 for window in windows)
    assert len(windows) == -(-2 * length // 4)
    assert builder.counts.cut_examples == builder.counts.split_examples == 1
    assert builder.counts.cut_tokens == length - 4
    assert builder.counts.tokens == 3 * length


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


@pytest.mark.parametrize(
    ("words", "length", "asked", "uncut"),
    [
        (30, 24, 10, 2 * 30 + 3),  # half a window; a longer one mends it
        (70, 24, 10, math.inf),
        (70, 512, 64, math.inf),  # the authors' limit, whatever the window
        (64, 512, 64, 0),
    ],
)
def test_a_question_has_64_tokens_and_half_a_window(trained, words, length, asked, uncut):
    question = " ".join(["the"] * words)  # a token each
    builder = InputBuilder(trained, length)
    windows = list(builder.questions([question], [" ".join(SENTENCE * 6)], stride=5))
    assert all(len(w.ids) <= length and w.ids.tolist().count(w.ids[1]) >= asked for w in windows)
    counts = builder.counts
    assert (counts.cut_examples, counts.cut_tokens) == (int(words > asked), words - asked)
    assert counts.uncut_length == uncut
    if uncut:
        assert f"have a question of more than {asked} tokens" in counts.cut_rule


def test_a_sentence_with_several_words_that_are_cut_is_one_example(trained):
    builder = InputBuilder(trained, 8)
    list(builder.sentences([["x" * 40, "the", "y" * 40]]))
    assert builder.counts.cut_examples == 1
    (whole,) = InputBuilder(trained, 512).sentences([["x" * 40]])
    assert builder.counts.uncut_length == len(whole.ids)


def test_documents_have_a_slot_at_every_token_but_special_ones(trained):
    builder = InputBuilder(trained, 8)
    windows = list(builder.documents([" ".join(SENTENCE)]))
    assert len(windows) > 1
    assert sum(len(window.slots) for window in windows) == builder.counts.tokens
    assert all(window.slots == list(range(1, len(window.ids) - 1)) for window in windows)
