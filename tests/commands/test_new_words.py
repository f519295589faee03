"""`electra prepare --tokenizer A --add-tokens N`, and a run that starts from A with them."""

import json
import random
from pathlib import Path

import pytest
import torch
from command_line import TINY
from safetensors.torch import load_file

from electra_cli.data.manifest import load_manifest
from electra_cli.data.prepared import open_data
from electra_cli.data.tokenizer import load_tokenizer

RUN_OPTIONS = [option for option in TINY if "=model." not in option]
NEW = ["harvest", "mineral", "wyvern"]


@pytest.fixture
def corpus(tmp_path) -> Path:
    """Documents about three words that the tokenizer cuts into letters."""
    draw = random.Random(0)
    known = ["the", "value", "of", "name", "list"]
    documents = (" ".join(draw.choices(NEW + known, k=60)) for _ in range(80))
    (tmp_path / "new.txt").write_text("\n\n".join(documents))
    return tmp_path / "new.txt"


@pytest.mark.slow
def test_new_words_start_as_the_mean_of_their_pieces(finished, corpus, electra, tmp_path):
    prepare = ["prepare", corpus, "--out", "new", "--tokenizer", finished.root,
               "--validation-fraction", 0.2]  # fmt: skip
    done = electra(*prepare, "--add-tokens", 50, "--pad-vocab-to", 32)
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stderr.split())
    assert "new tokens of at most 50, which occur 100 times or more" in told
    assert all(word in told for word in NEW), told
    manifest = load_manifest(tmp_path / "new")
    assert manifest.report.tokens_per_word < 1.3
    assert manifest.vocab_size % 32 == 0
    tokenizer = load_tokenizer(tmp_path / "new" / "tokenizer")
    old = open_data(tmp_path / "new").manifest.settings.tokenizer
    assert old != manifest.tokenizer_sha256

    done = electra("train", "--init-from", finished.root, "--data", "new", "--run-name", "on",
                   *RUN_OPTIONS)  # fmt: skip
    assert done.returncode == 0, done.stderr
    started = load_file(tmp_path / "runs/on/checkpoints/step-00000000/model.safetensors")
    source = load_file(finished.root / "checkpoints/step-00000012/model.safetensors")
    names = ("discriminator.electra.embeddings.word_embeddings.weight",
             "generator.generator_lm_head.bias")  # fmt: skip
    vocab, pieces = (
        tokenizer.get_vocab(),
        json.loads((tmp_path / "new/new_tokens.json").read_text()),
    )
    first = len(source[names[1]])
    assert set(pieces) == {str(index) for index in range(first, manifest.vocab_size)}
    for name in names:
        assert torch.equal(started[name][:first], source[name])
        for word in NEW:
            ids = pieces[str(vocab[word])]
            assert len(ids) > 2
            assert torch.equal(started[name][vocab[word]], source[name][ids].mean(dim=0)), word
    unused = [int(index) for index, ids in pieces.items() if not ids]
    assert unused
    assert set(started[names[1]][unused].tolist()) == {-100.0}
    for name in source.keys() - set(names):
        assert torch.equal(started[name], source[name]), name

    # The new run's vocabulary is its own: going on from it needs no new rows.
    done = electra("train", "--init-from", "runs/on", "--data", "new", "--run-name", "again",
                   *RUN_OPTIONS, "--steps", 1)  # fmt: skip
    assert done.returncode == 0, done.stderr
    again = load_file(tmp_path / "runs/again/checkpoints/step-00000000/model.safetensors")
    last = load_file(tmp_path / "runs/on/checkpoints/step-00000012/model.safetensors")
    assert all(torch.equal(again[name], last[name]) for name in last)

    # The same command finds the folder as it is; another number is another folder.
    assert electra(*prepare, "--add-tokens", 50, "--pad-vocab-to", 32).returncode == 0
    done = electra(*prepare, "--add-tokens", 10)
    assert "was made with add_tokens 50" in done.stderr

    # A damaged list of new tokens names no wrong rows.
    file = tmp_path / "new" / "new_tokens.json"
    pieces[str(first)] = [manifest.vocab_size + 5]
    file.write_text(json.dumps(pieces))
    done = electra("train", "--init-from", finished.root, "--data", "new", "--run-name", "no",
                   *RUN_OPTIONS)  # fmt: skip
    assert done.returncode == 1
    assert "new_tokens.json is damaged" in done.stderr
    assert not (tmp_path / "runs" / "no").exists()


def test_what_cannot_be_extended_is_said(corpus, electra, tmp_path):
    done = electra("prepare", corpus, "--out", "new", "--add-tokens", 5)
    assert done.returncode == 1
    assert "--add-tokens extends a tokenizer, and none is named" in done.stderr
    engine = {"type": "BPE", "vocab": {"a": 0}, "merges": []}
    roles = {f"{role}_token": f"<{role}>" for role in ("pad", "unk", "cls", "sep", "mask")}
    added = [
        {"id": place, "content": token, "special": True, "single_word": False, "lstrip": False,
         "rstrip": False, "normalized": False}
        for place, token in enumerate(roles.values(), 1)
    ]  # fmt: skip
    folder = tmp_path / "bpe"
    folder.mkdir()
    content = {"version": "1.0", "added_tokens": added, "model": engine, "normalizer": None,
               "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
               "truncation": None, "padding": None}  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(content))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **roles}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    done = electra("prepare", corpus, "--out", "new", "--tokenizer", folder, "--add-tokens", 5)
    assert done.returncode == 1
    assert "has a BPE vocabulary" in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert not (tmp_path / "new").exists()
