"""Learning a vocabulary: which pieces it gets, and always the same ones."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_tokenizer import TEXTS, encode

from electra_cli.data.tokenizer import fingerprint
from electra_cli.preparing.vocabulary import sample_texts, train_tokenizer


def test_lower_case_drops_accents_and_cased_keeps_both():
    texts = ["Ärger Äpfel Öl ÄRGER ärger arger"] * 4
    lower = train_tokenizer(texts, vocab_size=200, cased=False)
    cased = train_tokenizer(texts, vocab_size=200, cased=True)
    assert encode(lower, ["Ärger"]) == encode(lower, ["arger"])
    assert len(set(map(tuple, encode(cased, ["Ärger", "ärger", "arger", "ÄRGER"])))) == 4
    opened = cased.convert_ids_to_tokens(encode(cased, ["Äpfel"])[0])
    assert "".join(opened).replace("##", "") == "Äpfel"


def test_every_script_gets_its_characters(trained):
    (chinese,) = encode(trained, ["天地玄黄"])
    assert trained.convert_ids_to_tokens(chinese) == ["天", "地", "玄", "黄"]
    for text in TEXTS[:4]:
        assert trained.unk_token_id not in encode(trained, [text])[0]


def test_rare_characters_do_not_fill_a_small_vocabulary():
    common = "the cat sat on the mat and the dog ran over the hill " * 2_000
    rare = "".join(map(chr, range(0x4E00, 0x4E00 + 3_000)))
    small = train_tokenizer([common, rare], vocab_size=100, cased=False)
    assert "the" in small.get_vocab()
    assert sum(token >= "\u4e00" for token in small.get_vocab()) == 0


def test_the_alphabet_leaves_half_of_the_vocabulary_to_longer_pieces():
    many = " ".join(map(chr, range(0x4E00, 0x4E00 + 500))) + " the cat the dog" * 50
    tokenizer = train_tokenizer([many], vocab_size=100, cased=False)
    characters = [token for token in tokenizer.get_vocab() if len(token.removeprefix("##")) == 1]
    assert len(characters) <= 48


TRAIN_IN_CHILD = """
import json, sys
from electra_cli.data.tokenizer import fingerprint
from electra_cli.preparing.vocabulary import train_tokenizer
texts = json.load(open(sys.argv[1]))
print(fingerprint(train_tokenizer(texts, 400, sys.argv[2] == "cased")))
"""


def test_the_same_text_gives_the_same_vocabulary_in_every_process(tmp_path: Path):
    # Many pieces have equal counts here, so that any undefined order between them shows.
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyzäöüß", k=4)) for _ in range(400)]
    corpus = [" ".join(draw.choices(words, k=50)) for _ in range(40)] + TEXTS
    (tmp_path / "texts.json").write_text(json.dumps(corpus))
    found = {
        subprocess.run(
            [sys.executable, "-c", TRAIN_IN_CHILD, str(tmp_path / "texts.json"), "lower"],
            env={**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "7")
    }
    assert len(found) == 1
    assert found == {fingerprint(train_tokenizer(corpus, 400, cased=False)) + "\n"}


@pytest.mark.parametrize("cased", [False, True])
def test_no_one_character_piece_is_left_to_chance(cased: bool):
    # Ids of pieces that were not named beforehand would follow the order of a random hash table.
    draw = random.Random(1)
    points = [chr(p) for p in range(0x20, 0x2FFF) if not 0xD800 <= p < 0xE000]
    text = "".join(draw.choices([*points, *"   abc,.ÄÉ漢字한글"], k=36_000))
    trained = train_tokenizer([text] * 3, vocab_size=30_000, cased=cased)
    by_id = sorted(trained.get_vocab(), key=trained.get_vocab().get)[5:]
    first = [token for token in by_id if len(token) == 1]
    continuing = [token for token in by_id if len(token) == 3 and token.startswith("##")]
    assert len(first) > 100
    assert len(continuing) > 100
    assert by_id[: len(first) + len(continuing)] == sorted(first) + sorted(continuing)


def test_a_sample_is_spread_evenly_and_bounded():
    documents = [f"{i:05d} " + "x" * 94 for i in range(1_000)]
    sample = sample_texts(documents, 30_000)
    numbers = [int(text[:5]) for text in sample]
    assert 15_000 <= sum(map(len, sample)) <= 30_000
    assert np.diff(numbers).tolist() == [4] * (len(numbers) - 1)
    assert numbers[-1] > 990
    assert sample_texts(documents, 10**6) == documents


def test_a_piece_must_occur_often_enough():
    texts = ["tree " * 150 + "river " * 90]
    vocabulary = train_tokenizer(texts, 300, cased=False, min_frequency=100).get_vocab()
    assert "tree" in vocabulary
    assert "river" not in vocabulary
    assert {"r", "##r"} <= vocabulary.keys()
