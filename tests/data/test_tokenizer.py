"""Loading, saving and fingerprinting tokenizers; which ids begin a word."""

import hashlib
import json
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from small_tokenizer import (
    SPECIAL,
    TEXTS,
    encode,
    encode_as_transformers,
    fast_tokenizer,
    long_text,
)
from tokenizers import Tokenizer as Engine
from tokenizers import decoders, models, pre_tokenizers
from transformers import AutoTokenizer

from electra_cli.data.tokenizer import (
    count_ids,
    fingerprint,
    load_tokenizer,
    save_tokenizer,
    word_starts,
)
from electra_cli.errors import DataError
from electra_cli.preparing.vocabulary import train_tokenizer


def test_a_saved_folder_has_the_fingerprint_of_what_was_saved(trained, tokenizer_folder):
    assert fingerprint(load_tokenizer(tokenizer_folder)) == fingerprint(trained)
    opened = AutoTokenizer.from_pretrained(tokenizer_folder)
    opened("a call that pads and cuts", padding="max_length", truncation=True, max_length=4)
    assert fingerprint(opened) == fingerprint(trained)


def test_another_vocabulary_has_another_fingerprint(trained):
    other = train_tokenizer(TEXTS, vocab_size=180, cased=False)
    cased = train_tokenizer(TEXTS, vocab_size=600, cased=True)
    assert len({fingerprint(trained), fingerprint(other), fingerprint(cased)}) == 3


def test_the_fingerprint_is_the_hash_of_the_sorted_tokenizer_file(trained, tokenizer_folder):
    content = json.loads((tokenizer_folder / "tokenizer.json").read_text())
    del content["padding"], content["truncation"]
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert fingerprint(trained) == hashlib.sha256(canonical.encode()).hexdigest()


def test_word_starts_of_word_pieces(trained):
    starts = word_starts(trained)
    assert starts.shape == (count_ids(trained),)
    for token, index in trained.get_vocab().items():
        assert starts[index] == (not token.startswith("##")), token


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
        encode_as_transformers(opened, text),
        encode_as_transformers(opened, "<mask>"),
    ]
    assert opened.mask_token_id not in encode(opened, ["<mask>"])[0]


def write(directory: Path, **files: str) -> Path:
    directory.mkdir()
    for name, text in files.items():
        (directory / f"{name}.json").write_text(text)
    return directory


def test_what_is_no_tokenizer_is_a_data_error_with_a_hint(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    broken = '{"version": "1.0", "model": {"type": "WordPiece"}}'
    for name in (
        tmp_path / "nowhere",
        write(tmp_path / "empty"),
        write(tmp_path / "cut", tokenizer='{"version"'),
        write(tmp_path / "odd", tokenizer=broken, tokenizer_config="{}"),
        "not a valid name!",
        "an/id-without-network",
    ):
        with pytest.raises(
            DataError, match=r"cannot open the tokenizer|no such tokenizer"
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


def test_added_tokens_that_the_normaliser_makes_one_are_refused(tokenizer_folder, tmp_path):
    """Which of the two ids a word gets would differ from one opening to the next."""
    given = AutoTokenizer.from_pretrained(tokenizer_folder)
    given.add_tokens(["Zorg", "Zurg"])
    given.save_pretrained(tmp_path / "given")
    load_tokenizer(tmp_path / "given")
    given.add_tokens(["zorg"])
    given.save_pretrained(tmp_path / "given")
    with pytest.raises(DataError, match="'Zorg' and 'zorg' are the same, 'zorg', when"):
        load_tokenizer(tmp_path / "given")


def test_a_file_is_no_tokenizer(tokenizer_folder):
    with pytest.raises(DataError, match="is a file, and a tokenizer is a folder") as refused:
        load_tokenizer(tokenizer_folder / "tokenizer.json")
    assert refused.value.hint == f"name the folder: {tokenizer_folder}"


def test_a_saved_tokenizer_is_what_was_opened_from_its_folder(trained, tmp_path):
    assert save_tokenizer(trained, tmp_path / "ours") is trained
    engine = Engine(models.WordLevel({token: i for i, token in enumerate(SPECIAL.values())}))
    other = fast_tokenizer(engine, **SPECIAL)
    opened = save_tokenizer(other, tmp_path / "theirs")
    assert opened is not other
    assert fingerprint(opened) == fingerprint(other)


def test_code_that_comes_with_a_tokenizer_never_runs(tmp_path):
    (tmp_path / "theirs.py").write_text(f"open({str(tmp_path / 'it_ran')!r}, 'w')\n")
    config = {"auto_map": {"AutoTokenizer": ["theirs.Tokenizer", None]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(DataError, match="cannot open the tokenizer"):
        load_tokenizer(tmp_path)
    assert not (tmp_path / "it_ran").exists()


def test_only_a_name_that_is_no_folder_is_looked_up_on_the_hub(
    tokenizer_folder, tmp_path, monkeypatch
):
    asked = []

    def from_pretrained(name: str, *, local_files_only: bool = False, **rest: object) -> object:
        if local_files_only:
            raise OSError(f"{name} is not in the cache")
        return opened

    def model_info(self: object, name: str, timeout: float) -> None:
        asked.append(name)

    opened = AutoTokenizer.from_pretrained(tokenizer_folder)
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", from_pretrained)
    monkeypatch.setattr(HfApi, "model_info", model_info)
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(DataError, match="is not in the cache"):
        load_tokenizer(tmp_path)
    assert asked == []
    assert load_tokenizer("someone/bert") is opened
    assert asked == ["someone/bert"]


def test_a_model_without_its_vocabulary_is_no_tokenizer(tmp_path):
    """transformers makes one of special tokens alone, to which every word is unknown."""
    (tmp_path / "config.json").write_text('{"model_type": "electra"}')
    with pytest.raises(DataError, match="it holds no file with a vocabulary"):
        load_tokenizer(tmp_path)
