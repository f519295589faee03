"""Whatever a tokenizer's file says, the ids on disk are those of AutoTokenizer."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import run_electra
from tokenizers import AddedToken, models, pre_tokenizers
from tokenizers import Tokenizer as Engine
from transformers import AutoTokenizer, BertTokenizer, PreTrainedTokenizerFast

from electra_cli.commands.prepare import run
from electra_cli.data.bert_tokenizer import SPECIAL_TOKENS
from electra_cli.data.manifest import load_manifest
from electra_cli.data.shards import open_shards
from electra_cli.preparing.options import PrepareOptions
from electra_cli.preparing.pipeline import CHECKED_BYTES
from electra_cli.preparing.rounds import MIN_DOCUMENT_TOKENS
from electra_cli.preparing.source import SourceOptions

LETTERS = "abcdefghijklmnopqrstuvwxyzé天地.あ"
VOCABULARY = {
    token: index
    for index, token in enumerate(
        [*SPECIAL_TOKENS, *LETTERS, *(f"##{letter}" for letter in LETTERS), "the", "tree", "runs"]
    )
}
ROLES = {
    f"{role}_token": f"[{role.upper()}]" for role in ("pad", "unk", "cls", "sep", "mask")
}  # as SPECIAL_TOKENS names them


def bert(**options: Any) -> BertTokenizer:
    return BertTokenizer(vocab=VOCABULARY, **options)


def with_tokens(*tokens: str | AddedToken, special: bool = False) -> BertTokenizer:
    tokenizer = bert()
    tokenizer.add_tokens(list(tokens), special_tokens=special)
    return tokenizer


def changed(change: Callable[[dict[str, Any]], None]) -> PreTrainedTokenizerFast:
    """BERT's tokenizer.json with a change."""
    content = json.loads(bert().backend_tokenizer.to_str())
    change(content)
    engine = Engine.from_str(json.dumps(content))
    return PreTrainedTokenizerFast(tokenizer_object=engine, **ROLES)


def model_is(**values: Any) -> PreTrainedTokenizerFast:
    return changed(lambda content: content["model"].update(values))


def normalizer_is(**values: Any) -> PreTrainedTokenizerFast:
    return changed(lambda content: content["normalizer"].update(values))


def byte_level() -> PreTrainedTokenizerFast:
    vocabulary = [*SPECIAL_TOKENS, *pre_tokenizers.ByteLevel.alphabet()]
    engine = Engine(models.BPE({token: i for i, token in enumerate(vocabulary)}, []))
    engine.pre_tokenizer = pre_tokenizers.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=engine, **ROLES)


FAST = {
    "as BERT": bert,
    "accents kept": lambda: bert(strip_accents=False),
    "cased": lambda: bert(do_lower_case=False),
    "Chinese not apart": lambda: normalizer_is(handle_chinese_chars=False),
    "control characters kept": lambda: normalizer_is(clean_text=False),
    "accents stripped, cased": lambda: normalizer_is(lowercase=False, strip_accents=True),
    "no normaliser": lambda: changed(lambda content: content.update(normalizer=None)),
    "no post-processor": lambda: changed(lambda content: content.update(post_processor=None)),
    "short words alone": lambda: model_is(max_input_chars_per_word=3),
    "another unknown token": lambda: model_is(unk_token="é"),
    "special tokens added": lambda: with_tokens("Zorg", "[E1]", special=True),
}
SLOW = {
    "tokens added": lambda: with_tokens("Zorg", "tree runs"),
    "tokens added with flags": lambda: with_tokens(
        AddedToken("zorg", single_word=True, lstrip=True, rstrip=True, normalized=True),
        AddedToken("ZORG", normalized=False),
    ),
    "another prefix": lambda: model_is(continuing_subword_prefix="@@"),
    "NFKC": lambda: changed(lambda content: content.update(normalizer={"type": "NFKC"})),
    "words between blanks": lambda: changed(
        lambda content: content.update(pre_tokenizer={"type": "WhitespaceSplit"})
    ),
    "bytes": byte_level,
    # Cut before any blank, a long text would have other ids.
    "words joined": lambda: changed(
        lambda content: content.update(
            normalizer={"type": "Replace", "pattern": {"String": "b a"}, "content": "ba"}
        )
    ),
}


@pytest.mark.parametrize("name", [*FAST, *SLOW])
def test_the_ids_are_those_of_autotokenizer(tmp_path, name, capsys):
    (FAST | SLOW)[name]().save_pretrained(tmp_path / "given")
    usual = [f"the tree runs {letter} {letter}a" for letter in LETTERS]
    # What is strange comes long after the documents on which the engines are compared.
    before = [f"{' '.join(usual)} {i} " * 20 for i in range(CHECKED_BYTES // 10_000)]
    strange = [
        "Zorg xZorg ZORG zorg zorgs the tree runs, [E1] [MASK] [UNK] here",
        "the Café cafe\u0301 ﬁre İI ½ 天地あ\u3099 x\u200dy page\fpage \x00 \x1f \ufffd",
        f"the {'b' * 100} {'b' * 101} {'天' * 150}",
        f"the tree {'ab ' * 40_000} runs {'x' * 120_000} the tree",
    ]
    texts = [text.strip() for text in [*before, *strange]]
    assert sum(map(len, before)) > CHECKED_BYTES
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    options = PrepareOptions(
        SourceOptions((str(tmp_path / "a.jsonl"),), replace_broken=True),
        tmp_path / "out",
        tokenizer=str(tmp_path / "given"),
        validation_fraction=0,
    )
    run(options)
    said = capsys.readouterr().err
    assert ("falling back to Hugging Face tokenizers" in said) == (name in SLOW)
    manifest = load_manifest(tmp_path / "out")
    shards = open_shards(tmp_path / "out", manifest, "train")
    for folder in ("given", "out/tokenizer"):
        theirs = AutoTokenizer.from_pretrained(tmp_path / folder)
        clean = [text.replace("\0", "\ufffd") for text in texts]
        expected = theirs(clean, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        found = [shards.read(*ends).tolist() for ends in itertools.pairwise(shards.offsets)]
        assert found == [ids for ids in expected if len(ids) >= MIN_DOCUMENT_TOKENS]


@pytest.mark.slow
def test_text_without_any_token_is_counted_as_unknown(tmp_path: Path):
    """BPE without an unknown token says nothing of the characters that it does not know."""
    vocabulary = {token: i for i, token in enumerate([*SPECIAL_TOKENS, "Ġ", *"abc"])}
    engine = Engine(models.BPE(vocabulary, []))
    engine.pre_tokenizer = pre_tokenizers.ByteLevel()
    given = PreTrainedTokenizerFast(tokenizer_object=engine, **ROLES)
    given.save_pretrained(tmp_path / "given")
    (tmp_path / "a.txt").write_text("a b c abc xyz é\n\nabcabc abc\n")
    done = run_electra(tmp_path, "prepare", "a.txt", "--tokenizer", "given", "--out", "out")
    assert done.returncode == 0, done.stderr
    text = load_manifest(tmp_path / "out").report.text
    assert (text.unknown_characters, text.characters) == (4, 10 + 9)
    assert "stand for 21.1% of the characters" in done.stderr
