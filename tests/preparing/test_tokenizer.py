"""Training, loading and fingerprinting tokenizers, and the ids of many kinds of text."""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Engine
from tokenizers import decoders, models, pre_tokenizers
from transformers import AutoTokenizer, BertTokenizer, PreTrainedTokenizerFast

from electra_cli.data.bert_tokenizer import SPECIAL_TOKENS
from electra_cli.data.tokenizer import (
    count_ids,
    fingerprint,
    load_tokenizer,
    save_tokenizer,
    word_starts,
)
from electra_cli.errors import DataError
from electra_cli.preparing import chunks as module
from electra_cli.preparing.chunks import cut_text
from electra_cli.preparing.encoder import TextEncoder
from electra_cli.preparing.vocabulary import sample_texts, train_tokenizer

TEXTS = [
    "The quick brown fox jumps over the lazy dog. " * 3,
    "Der schnelle braune Fuchs; Ärger über Öl, süße Grüße und Straßenbahnen.",
    "天地玄黄，宇宙洪荒。日月盈昃，辰宿列张。",
    "العربية لغة جميلة. هذه جملة أخرى بالعربية.",
    "emoji 🙂🚀 and a family 👩‍👩‍👧, café naïve Ångström",
    "a literal [MASK] and [SEP] and [CLS] and [PAD] and [UNK] in text",
    "tabs\tand\r\nline ends, \x00 control \x07 and\u00a0no-break and zero\u200bwidth",
    "combining e\u0301 a\u0308 한국어 ひらがなカタカナ ภาษาไทย",
]


@pytest.fixture(scope="module")
def trained():
    return train_tokenizer(TEXTS, vocab_size=600, cased=False)


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(trained, directory)
    return directory


@pytest.fixture(scope="module")
def theirs(folder):
    return AutoTokenizer.from_pretrained(folder)


def encode(tokenizer, texts: list[str]) -> list[list[int]]:
    ids, lengths = TextEncoder(tokenizer).encode([text.encode() for text in texts])
    assert ids.dtype == np.uint16
    assert lengths.dtype == np.int64
    return [part.tolist() for part in np.split(ids, np.cumsum(lengths)[:-1])]


def reference(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def test_the_ids_are_those_of_autotokenizer_on_the_saved_folder(trained, folder):
    opened = AutoTokenizer.from_pretrained(folder)
    assert opened.is_fast
    assert encode(trained, TEXTS) == [reference(opened, text) for text in TEXTS]


@given(st.lists(st.text(max_size=60), max_size=4))
@settings(max_examples=60, deadline=None)
def test_any_unicode_has_the_ids_of_autotokenizer(trained, theirs, texts):
    ids, lengths = TextEncoder(trained).encode([text.encode() for text in texts])
    expected = [reference(theirs, text) for text in texts]
    assert lengths.tolist() == [len(one) for one in expected]
    assert ids.tolist() == [index for one in expected for index in one]


def test_a_saved_folder_has_the_fingerprint_of_what_was_saved(trained, folder):
    assert fingerprint(load_tokenizer(folder)) == fingerprint(trained)
    opened = AutoTokenizer.from_pretrained(folder)
    opened("a call that pads and cuts", padding="max_length", truncation=True, max_length=4)
    assert fingerprint(opened) == fingerprint(trained)


def test_another_vocabulary_has_another_fingerprint(trained):
    other = train_tokenizer(TEXTS, vocab_size=180, cased=False)
    cased = train_tokenizer(TEXTS, vocab_size=600, cased=True)
    assert len({fingerprint(trained), fingerprint(other), fingerprint(cased)}) == 3


def test_special_tokens_come_first_and_the_longest_input_is_512(trained, folder):
    opened = AutoTokenizer.from_pretrained(folder)
    tokens = opened.convert_ids_to_tokens(range(5))
    assert tokens == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert (opened.pad_token_id, opened.unk_token_id) == (0, 1)
    assert (opened.cls_token_id, opened.sep_token_id, opened.mask_token_id) == (2, 3, 4)
    assert opened.model_max_length == 512
    pair = opened("one", "two")
    assert (pair["input_ids"][0], pair["input_ids"][-1]) == (2, 3)
    assert set(pair["token_type_ids"]) == {0, 1}


def test_text_never_becomes_a_special_token(trained):
    (ids,) = encode(trained, ["[MASK] [SEP] [CLS] [PAD] x[MASK]y"])
    assert not {0, 2, 3, 4} & set(ids)
    assert "".join(trained.convert_ids_to_tokens(ids)).replace("##", "").startswith("[mask]")


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


def long_text(kind: str) -> str:
    draw = random.Random(kind)
    words = ["apple", "Äpfel", "a", "state-of-the-art", "(see", "p.", "12)", "[MASK]", "e\u0301"]
    if kind == "spaces":
        return " ".join(draw.choices(words, k=36_000))
    if kind == "lines":
        return "\n".join(
            " ".join(draw.choices(words, k=9)) + draw.choice(["", "  "]) for _ in range(5_000)
        )
    if kind == "chinese":
        return "".join(draw.choices("天地玄黄宇宙洪荒日月，。", k=220_000))
    assert kind == "no blanks"
    return ",".join(draw.choices(words, k=36_000)).replace(" ", "")


@pytest.mark.parametrize("kind", ["spaces", "lines", "chinese", "no blanks"])
def test_long_texts_are_cut_without_changing_their_ids(trained, theirs, kind: str):
    text = long_text(kind)
    pieces = list(cut_text(text))
    assert len(pieces) >= 3
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= module.PIECE_CHARS
    short = "before and after"
    assert encode(trained, [short, text, short]) == [
        reference(theirs, one) for one in (short, text, short)
    ]


def test_a_word_of_a_million_letters_is_cut_anywhere(trained):
    text = "a" * 350_000
    assert "".join(cut_text(text)) == text
    assert encode(trained, [text]) == [[trained.unk_token_id]]
    encoder = TextEncoder(trained)
    encoder._fast_engine = None
    assert encoder.encode([text.encode()])[0].tolist() == [trained.unk_token_id] * 4


@given(st.text(alphabet="ab ,\n天\u0301", max_size=300))
@settings(max_examples=200, deadline=None)
def test_every_cut_keeps_the_ids(trained, theirs, text):
    saved = module.PIECE_CHARS, module._CUT_SEARCH_CHARS
    module.PIECE_CHARS, module._CUT_SEARCH_CHARS = 40, 30
    try:
        pieces = list(cut_text(text))
    finally:
        module.PIECE_CHARS, module._CUT_SEARCH_CHARS = saved
    assert "".join(pieces) == text
    # Thirty letters in a row leave no good place; elsewhere the ids stay the same.
    if all(len(word) < 30 for word in text.replace(",", " ").replace("天", " ").split()):
        joined = [index for piece in pieces for index in reference(theirs, piece)]
        assert joined == reference(theirs, text)


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


def test_a_sample_is_spread_evenly_and_bounded():
    documents = [f"{i:05d} " + "x" * 94 for i in range(1_000)]
    sample = sample_texts(documents, 30_000)
    numbers = [int(text[:5]) for text in sample]
    assert 15_000 <= sum(map(len, sample)) <= 30_000
    assert np.diff(numbers).tolist() == [4] * (len(numbers) - 1)
    assert numbers[-1] > 990
    assert sample_texts(documents, 10**6) == documents


def test_word_starts_of_word_pieces(trained):
    starts = word_starts(trained)
    assert starts.shape == (count_ids(trained),)
    for token, index in trained.get_vocab().items():
        assert starts[index] == (not token.startswith("##")), token


def fast_tokenizer(engine: Engine, **special: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=engine, **special)


SPECIAL = {"pad_token": "<pad>", "cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>"}


@pytest.mark.parametrize("mark", ["Ġ", "▁"])
def test_word_starts_of_vocabularies_that_mark_the_blank(mark: str):
    tokens = ["<pad>", "<s>", "</s>", "<mask>", f"{mark}a", "b", f"{mark}", "a"]
    engine = Engine(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=[]))
    if mark == "Ġ":
        engine.pre_tokenizer = pre_tokenizers.ByteLevel()
        engine.decoder = decoders.ByteLevel()
    else:
        engine.pre_tokenizer = pre_tokenizers.Metaspace()
        engine.decoder = decoders.Metaspace()
    starts = word_starts(fast_tokenizer(engine, **SPECIAL))
    assert starts.tolist() == [True, True, True, True, True, False, True, False]


def test_byte_level_tokenizers_load_encode_and_keep_their_ids_in_long_texts(tmp_path: Path):
    from tokenizers.trainers import BpeTrainer

    engine = Engine(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    engine.train_from_iterator(
        TEXTS, BpeTrainer(vocab_size=400, special_tokens=[*SPECIAL.values()])
    )
    save_tokenizer(fast_tokenizer(engine, **SPECIAL), tmp_path)
    opened = load_tokenizer(tmp_path)
    assert opened.model_max_length == 512
    text = long_text("spaces")
    assert encode(opened, [text, "<mask>"]) == [
        reference(opened, text),
        reference(opened, "<mask>"),
    ]
    assert opened.mask_token_id not in encode(opened, ["<mask>"])[0]


def write(directory: Path, **files: str) -> Path:
    directory.mkdir()
    for name, text in files.items():
        (directory / f"{name}.json").write_text(text)
    return directory


def test_what_is_no_tokenizer_is_a_data_error_with_a_hint(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "file").write_text("text")
    broken = '{"version": "1.0", "model": {"type": "WordPiece"}}'
    for name in (
        tmp_path / "nowhere",
        tmp_path / "file",
        write(tmp_path / "empty"),
        write(tmp_path / "cut", tokenizer='{"version"'),
        write(tmp_path / "odd", tokenizer=broken, tokenizer_config="{}"),
        "not a valid name!",
        "an/id-without-network",
    ):
        with pytest.raises(
            DataError, match=r"cannot open the tokenizer|no folder is called"
        ) as caught:
            load_tokenizer(name)
        assert str(name) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.hint


def test_a_tokenizer_without_the_special_tokens_of_electra_is_refused(tmp_path: Path):
    engine = Engine(models.WordLevel({"a": 0, "<pad>": 1, "<unk>": 2}, unk_token="<unk>"))
    fast_tokenizer(engine, pad_token="<pad>", unk_token="<unk>").save_pretrained(tmp_path)
    with pytest.raises(DataError, match="no cls_token, sep_token, mask_token"):
        load_tokenizer(tmp_path)


def test_the_fingerprint_is_the_hash_of_the_sorted_tokenizer_file(trained, folder):
    content = json.loads((folder / "tokenizer.json").read_text())
    del content["padding"], content["truncation"]
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert fingerprint(trained) == hashlib.sha256(canonical.encode()).hexdigest()


def test_an_engine_that_differs_is_not_used(trained, monkeypatch):
    texts = [b"the first text", b"the [MASK] second"]
    encoder = TextEncoder(trained)
    assert encoder.is_fast
    assert encoder.check(texts)
    right, lengths = encoder.encode(texts)
    trusted = encoder._fast_engine

    class WrongEngine:
        def encode_batch(self, texts, **options):
            changed = [text.replace(b"first", b"second") for text in texts]
            return trusted.encode_batch(changed, **options)

    monkeypatch.setattr(encoder, "_fast_engine", WrongEngine())
    assert not encoder.check(texts)
    assert not encoder.is_fast
    ids, found = encoder.encode(texts)
    assert np.array_equal(ids, right)
    assert np.array_equal(found, lengths)


def test_a_tokenizer_the_fast_engine_cannot_read_is_encoded_by_the_other(tmp_path):
    engine = Engine(models.BPE({"a": 0, "[UNK]": 1}, []))
    special = {"pad_token": "a", "cls_token": "a", "sep_token": "a", "mask_token": "a"}
    encoder = TextEncoder(fast_tokenizer(engine, **special))
    assert not encoder.is_fast
    assert encoder.encode([b"aa"])[1].tolist() == [2]


@pytest.mark.parametrize("cased", [False, True])
def test_a_bert_tokenizer_is_that_of_transformers_file_by_file(cased: bool, tmp_path: Path):
    ours = train_tokenizer(TEXTS, vocab_size=400, cased=cased)
    vocab = ours.get_vocab()
    theirs = BertTokenizer(vocab=vocab, do_lower_case=not cased, model_max_length=512)
    for name, tokenizer in (("ours", ours), ("theirs", theirs)):
        save_tokenizer(tokenizer, tmp_path / name)
    again = AutoTokenizer.from_pretrained(tmp_path / "ours")
    save_tokenizer(again, tmp_path / "again")  # names two settings more, which mean nothing
    files = [
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("ours", "theirs")
    ]
    assert files[0] == files[1]
    assert type(again) is BertTokenizer
    for name in ("ours", "theirs", "again"):
        opened = load_tokenizer(tmp_path / name)
        assert type(opened) is type(ours)
        assert fingerprint(opened) == fingerprint(theirs)
        assert opened.get_vocab() == theirs.get_vocab()
        assert sorted(opened.all_special_ids) == sorted(theirs.all_special_ids)
        for role in ("pad", "unk", "cls", "sep", "mask"):
            assert getattr(opened, f"{role}_token_id") == getattr(theirs, f"{role}_token_id")
        assert opened.convert_ids_to_tokens(range(99)) == theirs.convert_ids_to_tokens(range(99))


def _set(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("what", ["settings", "engine", "added", "more settings", "more files"])
def test_a_folder_that_says_more_or_two_things_is_opened_as_transformers_does(
    what: str, folder: Path, tmp_path: Path
):
    changed = tmp_path / "changed"
    shutil.copytree(folder, changed)
    engine, config = changed / "tokenizer.json", changed / "tokenizer_config.json"
    if what == "settings":
        _set(config, do_lower_case=False)
    elif what == "engine":
        _set(engine, normalizer=None)
    elif what == "added":
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.add_tokens(["quick brown"])
        tokenizer.save_pretrained(changed)
    elif what == "more settings":
        _set(config, extra_special_tokens=["[X]"])
    else:
        (changed / "special_tokens_map.json").write_text('{"mask_token": "[UNK]"}')
    opened, theirs = load_tokenizer(changed), AutoTokenizer.from_pretrained(changed)
    assert type(opened) is type(theirs) is BertTokenizer
    assert fingerprint(opened) == fingerprint(theirs)
    assert opened.special_tokens_map == theirs.special_tokens_map


def test_a_folder_of_ours_opens_without_transformers(folder):
    code = (
        "import sys; from electra_cli.data.tokenizer import load_tokenizer;"
        "load_tokenizer(sys.argv[1]); sys.exit('transformers' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)
