"""Tokens are added where they save most, and every old one keeps its id."""

import random

import pytest
from transformers import AutoTokenizer

from electra_cli.data.bert_tokenizer import SPECIAL_TOKENS, BertTokenizer
from electra_cli.data.tokenizer import count_ids, load_tokenizer
from electra_cli.preparing.new_words import choose_tokens, extend_tokenizer

LETTERS = "abcdest"
PIECES = [*SPECIAL_TOKENS, *LETTERS, *(f"##{letter}" for letter in LETTERS), "se", "##te"]


@pytest.fixture
def small() -> BertTokenizer:
    return BertTokenizer({piece: index for index, piece in enumerate(PIECES)}, cased=False)


def test_the_tokens_that_save_most_come_first(small):
    texts = ["sets bad " * 10 + "sea " * 3 + "beads " * 4]
    found = extend_tokenizer(small, texts, most=3, min_frequency=4, multiple=None)
    first = len(PIECES)
    # sets: se ##t ##s and bad: b ##a ##d save 2 pieces ten times each; sea occurs too rarely.
    added = found.tokenizer.convert_ids_to_tokens(range(first, count_ids(found.tokenizer)))
    assert added == ["bad", "sets", "beads"]
    assert [small.convert_ids_to_tokens(ids) for ids in found.pieces.values()] == [
        ["b", "##a", "##d"], ["se", "##t", "##s"], ["b", "##e", "##a", "##d", "##s"],
    ]  # fmt: skip
    before, after = found.tokens_per_word
    assert before == pytest.approx((10 * 3 + 10 * 3 + 3 * 2 + 4 * 5) / 27)
    assert after == pytest.approx((10 + 10 + 3 * 2 + 4) / 27)
    vocab = found.tokenizer.get_vocab()
    assert {piece: vocab[piece] for piece in PIECES} == small.get_vocab()


def test_a_piece_that_many_words_share_is_added_once(small):
    texts = ["abed abet abes abee abea abec " * 5]
    found = extend_tokenizer(small, texts, most=9, min_frequency=6, multiple=None)
    ids = found.pieces.values()
    assert [small.convert_ids_to_tokens(each) for each in ids] == [["a", "##b", "##e"]]


def test_padding_fills_up_with_names_that_are_free(small):
    taken = BertTokenizer({**small.get_vocab(), "[unused1]": len(PIECES)}, cased=False)
    found = extend_tokenizer(taken, [], most=0, min_frequency=1, multiple=8)
    assert count_ids(found.tokenizer) == 24
    assert count_ids(taken) == 22
    assert found.tokenizer.convert_ids_to_tokens([22, 23]) == ["[unused0]", "[unused2]"]
    assert found.pieces == {22: [], 23: []}


def test_a_tokenizer_that_transformers_opened_is_extended_alike(small, tmp_path):
    small.save_pretrained(tmp_path)
    (tmp_path / "special_tokens_map.json").write_text("{}")  # not as prepare writes it
    theirs = load_tokenizer(tmp_path)
    assert not isinstance(theirs, BertTokenizer)
    texts = ["sets bad " * 10]
    ours = extend_tokenizer(small, texts, 2, 2, 8).tokenizer
    found = extend_tokenizer(theirs, texts, 2, 2, 8).tokenizer
    assert found.get_vocab() == ours.get_vocab()
    found.save_pretrained(tmp_path / "again")
    again = AutoTokenizer.from_pretrained(tmp_path / "again")
    ids = again("sets bad sea", add_special_tokens=False)["input_ids"]
    assert again.convert_ids_to_tokens(ids) == ["sets", "bad", "se", "##a"]


def slow_choice(words, most, min_frequency):
    """Every run tried anew each time, on words written with what was chosen so far."""
    parts = [(list(pieces), count) for pieces, count in words]  # a chosen run is a tuple in them
    chosen = []
    while len(chosen) < most:
        runs = {
            tuple(pieces[first:stop])
            for pieces, _ in parts
            for first in range(len(pieces))
            for stop in range(first + 2, len(pieces) + 1)
            if all(isinstance(piece, str) for piece in pieces[first:stop])
        }
        saved = {}
        for run in runs:
            count = sum(count * len(joined(pieces, run)[1]) for pieces, count in parts)
            if count >= min_frequency:
                saved[run] = count * (len(run) - 1)
        if not saved:
            break
        best = min(saved, key=lambda run: (-saved[run], -len(run), run))
        chosen.append(best)
        parts = [(joined(pieces, best)[0], count) for pieces, count in parts]
    return chosen


def joined(pieces, run):
    """The pieces with every run of them in one item, and how many there are."""
    found, number, place = [], [], 0
    while place < len(pieces):
        if tuple(pieces[place : place + len(run)]) == run:
            found.append(run)
            number.append(place)
            place += len(run)
        else:
            found.append(pieces[place])
            place += 1
    return found, number


@pytest.mark.parametrize("seed", range(5))
def test_the_heap_chooses_what_trying_everything_does(seed):
    draw = random.Random(seed)
    words = [
        (tuple(draw.choices(["a", "##b", "##c"], k=draw.randint(2, 5))), draw.randint(1, 9))
        for _ in range(30)
    ]
    found = [run for _, run in choose_tokens(words, 12, 3, "##")]
    assert found == slow_choice(words, 12, 3)
