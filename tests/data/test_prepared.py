"""A folder made by the real `electra prepare`, opened."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_config
from transformers import AutoTokenizer

from electra_cli.data.prepared import find_data, open_data, prepared_folders
from electra_cli.errors import DataError


def test_the_parts_of_a_folder_are_what_the_tokenizer_says(prepared):
    data = open_data(prepared)
    tokenizer = AutoTokenizer.from_pretrained(data.tokenizer_directory)
    roles = data.token_roles
    assert (roles.cls_id, roles.sep_id, roles.mask_id, data.pad_id) == (
        tokenizer.cls_token_id,
        tokenizer.sep_token_id,
        tokenizer.mask_token_id,
        tokenizer.pad_token_id,
    )
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    assert roles.begins_word.tolist() == [not token.startswith("##") for token in tokens]


def test_windows_are_cut_once_per_setting(prepared):
    data = open_data(prepared)
    reader = data.reader("train", tiny_config())
    assert data.reader("train", tiny_config(optim={"learning_rate": 0.5})) is reader
    other = data.reader("train", tiny_config(run={"seed": 1}))
    assert other is not reader
    assert not np.array_equal(other.order(0, 0, 9), reader.order(0, 0, 9))
    assert data.reader("validation", tiny_config(run={"seed": 1})) is not other


def test_the_fingerprint_is_that_of_the_shards(prepared, tmp_path):
    moved = shutil.copytree(prepared, tmp_path / "moved")
    fingerprint = open_data(prepared).sha256
    assert len(fingerprint) == 64
    assert open_data(moved).sha256 == fingerprint
    other = open_data(moved)
    shards = (*other.manifest.shards[1:], other.manifest.shards[0])
    changed = other.manifest.model_copy(update={"shards": shards})
    assert type(other)(moved, changed, other.token_roles, 0).sha256 != fingerprint


def test_another_tokenizer_than_the_shards_is_refused(prepared, tmp_path):
    moved = shutil.copytree(prepared, tmp_path / "moved")
    file = moved / "tokenizer" / "tokenizer.json"
    content = json.loads(file.read_text())
    content["model"]["vocab"] = dict.fromkeys(content["model"]["vocab"], 0) | {
        token: len(content["model"]["vocab"]) - 1 - i
        for token, i in content["model"]["vocab"].items()
        if i > 4
    }
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match="tokenizer"):
        open_data(moved)


def test_the_only_folder_is_found_and_several_are_listed(prepared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no prepared data"):
        find_data(None)
    shutil.copytree(prepared, tmp_path / "data" / "one")
    (tmp_path / "data" / "unfinished").mkdir()
    assert prepared_folders() == [Path("data/one")]
    assert find_data(None) == Path("data/one")
    assert find_data(Path("elsewhere")) == Path("elsewhere")
    shutil.copytree(prepared, tmp_path / "data" / "two")
    with pytest.raises(DataError, match="data/one, data/two") as raised:
        find_data(None)
    assert "--data" in raised.value.hint
