"""Our BertTokenizer against transformers' own."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_tokenizer import TEXTS
from transformers import AutoTokenizer, BertTokenizer

from electra_cli.data.bert_tokenizer import BertTokenizer as OurTokenizer
from electra_cli.data.bert_tokenizer import open_vocabulary
from electra_cli.data.tokenizer import fingerprint, load_tokenizer, save_tokenizer
from electra_cli.errors import DataError
from electra_cli.preparing.vocabulary import train_tokenizer


def test_special_tokens_come_first_and_the_longest_input_is_512(trained, tokenizer_folder):
    opened = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokens = opened.convert_ids_to_tokens(range(5))
    assert tokens == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert (opened.pad_token_id, opened.unk_token_id) == (0, 1)
    assert (opened.cls_token_id, opened.sep_token_id, opened.mask_token_id) == (2, 3, 4)
    assert opened.model_max_length == 512
    pair = opened("one", "two")
    assert (pair["input_ids"][0], pair["input_ids"][-1]) == (2, 3)
    assert set(pair["token_type_ids"]) == {0, 1}


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
    what: str, tokenizer_folder: Path, tmp_path: Path
):
    changed = tmp_path / "changed"
    shutil.copytree(tokenizer_folder, changed)
    engine, config = changed / "tokenizer.json", changed / "tokenizer_config.json"
    if what == "settings":
        _set(config, do_lower_case=False)
    elif what == "engine":
        _set(engine, normalizer=None)
    elif what == "added":
        tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
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


def test_a_vocabulary_alone_is_opened_if_it_is_berts(tmp_path: Path):
    """The authors' checkpoints come with a vocab.txt and nothing else."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "river"]
    pieces += ["\u2028", "\x85"]  # no ends of lines here, and none to transformers
    file = tmp_path / "vocab.txt"

    def opened(tokens: list[str]) -> OurTokenizer | None:
        file.write_text("\n".join(tokens) + "\n")
        return open_vocabulary(tmp_path)

    found, cased = opened(pieces), opened([*pieces, "River"])
    assert found is not None and cased is not None
    assert found.get_vocab() == {piece: index for index, piece in enumerate(pieces)}
    assert found.backend_tokenizer.encode("River").ids == [2, 6, 3]
    assert cased.backend_tokenizer.encode("River").ids == [2, 9, 3]
    assert opened(["\ufeff[PAD]", *pieces[1:]]) is not None
    with pytest.raises(DataError, match="holds 'river' twice"):
        opened([*pieces, "river"])
    with pytest.raises(DataError, match=r"has no \[UNK\], \[MASK\]"):
        opened([piece for piece in pieces if piece not in ("[UNK]", "[MASK]")])
    file.write_bytes(b"\xff")
    with pytest.raises(DataError, match="is not in UTF-8"):
        open_vocabulary(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert opened(pieces) is None  # the file says which tokenizer it is


def test_a_folder_of_ours_opens_without_transformers(tokenizer_folder):
    code = (
        "import sys; from electra_cli.data.tokenizer import load_tokenizer;"
        "load_tokenizer(sys.argv[1]); sys.exit('transformers' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tokenizer_folder)], check=True)
