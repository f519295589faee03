"""An exported tokenizer makes the windows of training, whatever the tokenizer made that came in."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import (
    AddedToken,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoTokenizer, PreTrainedTokenizerFast, RobertaTokenizer

from electra_cli.data.exported_tokenizer import check_export, export_tokenizer
from electra_cli.errors import DataError

NAMES = {
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "cls_token": "<s>",
    "sep_token": "</s>",
    "mask_token": "<mask>",
}
SPECIAL = list(NAMES.values())
TEXTS = ["a tree and a river of its own"] * 5
MAX_LENGTH = 48


def train_engine(model: Any, trainer: Any, pre_tokenizer: Any, normalizer: Any = None) -> Tokenizer:
    engine = Tokenizer(model)
    if pre_tokenizer is not None:
        engine.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        engine.normalizer = normalizer
    engine.train_from_iterator(TEXTS, trainer)
    return engine


def unigram(scheme: str) -> Tokenizer:
    trainer = trainers.UnigramTrainer(
        vocab_size=60, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )
    return train_engine(models.Unigram(), trainer, pre_tokenizers.Metaspace(prepend_scheme=scheme))


def byte_level(add_prefix_space: bool = False) -> Tokenizer:
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    return train_engine(
        models.BPE(), trainer, pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    )


def words_with_blanks() -> Tokenizer:
    """As Llama's: each stretch of text begins with a mark, also the one after [MASK]."""
    marks = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    trainer = trainers.BpeTrainer(vocab_size=80, special_tokens=SPECIAL, show_progress=False)
    return train_engine(models.BPE(), trainer, None, normalizers.Sequence(marks))


def word_pieces(ready: bool = False) -> Tokenizer:
    trainer = trainers.WordPieceTrainer(vocab_size=80, special_tokens=SPECIAL, show_progress=False)
    engine = train_engine(
        models.WordPiece(unk_token="<unk>"),
        trainer,
        pre_tokenizers.BertPreTokenizer(),
        normalizers.BertNormalizer(),
    )
    if ready:
        engine.post_processor = processors.BertProcessing(("</s>", 3), ("<s>", 2))
    return engine


def truncated() -> Tokenizer:
    engine = word_pieces()
    engine.enable_truncation(3)
    engine.enable_padding(length=7)
    return engine


def with_more_tokens() -> Tokenizer:
    engine = byte_level()
    engine.add_special_tokens(["[E1]"])
    engine.add_tokens(["treehouse"])
    return engine


CASES: dict[str, tuple[Callable[[], Tokenizer], dict[str, Any]]] = {
    "a mark before every word": (lambda: unigram("always"), {}),
    "a mark before the first word": (lambda: unigram("first"), {}),
    "bytes": (byte_level, {}),
    "bytes, a blank first": (lambda: byte_level(True), {"add_prefix_space": True}),
    "a mark after [MASK], too": (words_with_blanks, {}),
    "word pieces": (word_pieces, {}),
    "nothing to mend": (lambda: word_pieces(ready=True), {}),
    "cut and filled": (truncated, {}),
    "more tokens": (with_more_tokens, {"extra_special_tokens": ["[E1]"]}),
    "[MASK] as a word": (
        byte_level,
        {"mask_token": AddedToken("<mask>", single_word=True, normalized=True, special=True)},
    ),
    "[MASK] with the blank after it": (
        byte_level,
        {"mask_token": AddedToken("<mask>", rstrip=True, special=True)},
    ),
    "filled on the left, no types": (
        word_pieces,
        {"padding_side": "left", "model_input_names": ["input_ids", "attention_mask"]},
    ),
    "special tokens split": (word_pieces, {"split_special_tokens": True}),
}


def export(tokenizer: Any, folder: Path) -> Any:
    """The tokenizer as users open it from an exported folder."""
    folder.mkdir()
    export_tokenizer(tokenizer, folder, MAX_LENGTH)
    (folder / "config.json").write_text(json.dumps({"model_type": "electra"}))
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("case", CASES)
def test_texts_become_windows_as_in_training(tmp_path, case):
    make, settings = CASES[case]
    saved = PreTrainedTokenizerFast(tokenizer_object=make(), **{**NAMES, **settings})
    saved.save_pretrained(tmp_path / "in")
    given = AutoTokenizer.from_pretrained(tmp_path / "in")

    def pieces(text: str) -> list[int]:
        return given(text, add_special_tokens=False)["input_ids"]

    found = export(given, tmp_path / "out")
    cls, sep, mask = (found.convert_tokens_to_ids(token) for token in ("<s>", "</s>", "<mask>"))
    first, second, both = pieces("a tree"), pieces("river"), pieces("a tree river")
    after = both[len(first) :]
    pair = found("a tree", "river")
    assert pair["input_ids"] == [cls, *first, sep, *second, sep]
    assert pair["token_type_ids"] == [0] * (len(first) + 2) + [1] * (len(second) + 1)
    for text, expected in (
        ("a tree", first),
        ("a tree <mask>", [*first, mask]),
        ("a tree<mask>", [*first, mask]),
        ("a tree <mask> river", [*first, mask, *after]),
        ("<mask> river", [mask, *after]),
    ):
        assert found(text)["input_ids"] == [cls, *expected, sep], text
    assert len(found("a tree " * 50, truncation=True)["input_ids"]) == MAX_LENGTH
    assert len(found("a tree " * 50, "river", truncation=True)["input_ids"]) == MAX_LENGTH
    batch = found(["a", "a tree and a river"], padding=True)
    assert batch["attention_mask"][0][:3] == [1, 1, 1]  # filled on the right
    assert found.get_vocab() == given.get_vocab()
    assert found("treehouse [E1]")["input_ids"][1:-1] == pieces("treehouse [E1]")
    assert found.extra_special_tokens == given.extra_special_tokens


def test_what_needs_no_mending_stays_as_it_is(tmp_path, tokenizer_folder, theirs):
    export(theirs, tmp_path / "out")
    engines = [
        json.loads((folder / "tokenizer.json").read_text())
        for folder in (tmp_path / "out", tokenizer_folder)
    ]
    assert engines[0] == engines[1]


def test_the_class_is_one_that_transformers_4_knows(tmp_path, theirs):
    vocab, merges = json.loads(byte_level().to_str())["model"]["vocab"], []
    roberta = RobertaTokenizer(vocab=vocab, merges=merges)
    for tokenizer, name in ((theirs, "BertTokenizer"), (roberta, "PreTrainedTokenizerFast")):
        export(tokenizer, tmp_path / name)
        settings = json.loads((tmp_path / name / "tokenizer_config.json").read_text())
        assert settings["tokenizer_class"] == name
        assert settings["model_max_length"] == MAX_LENGTH
        assert not {"extra_special_tokens", "backend", "added_tokens_decoder"} & settings.keys()
        # transformers 4 would set it otherwise, whatever the engine's file says.
        assert settings.get("add_prefix_space") == {"PreTrainedTokenizerFast": False}.get(name)


def test_one_that_cannot_be_mended_is_refused():
    engine = Tokenizer(models.WordLevel({token: i for i, token in enumerate(SPECIAL)}, "<unk>"))
    with pytest.raises(DataError, match="does not make the windows"):
        check_export(PreTrainedTokenizerFast(tokenizer_object=engine, **NAMES))
