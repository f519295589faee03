"""The tokenizer of an exported model: it makes the windows that the model was trained on.

Training builds windows of its own: [CLS] A [SEP] or [CLS] A [SEP] B [SEP], types 0 and 1, where
[MASK] stands for a piece. A tokenizer from elsewhere may add other special tokens, or none, or
read "a [MASK]" with a piece for the blank. What is exported is mended, then opened again and asked.
"""

import json
from itertools import islice, pairwise, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tokenizers import Tokenizer as Engine
from tokenizers.processors import TemplateProcessing

from electra_cli.data.bert_tokenizer import ENGINE_NAME, SETTINGS_NAME
from electra_cli.data.tokenizer import Tokenizer, open_with_transformers
from electra_cli.errors import DataError

# Known to transformers 4, too. The first builds BERT's engine from its settings; the second takes
# tokenizer.json as it is.
_BERT_CLASS, _PLAIN_CLASS = "BertTokenizer", "PreTrainedTokenizerFast"
_ROLES = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
# Settings of BERT, and what tokenizer.json calls them in its normalizer.
_BERT_SETTINGS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
_MOST_PAIRS_TRIED = 256
_ANY_LENGTH = 64

# Ids and types of some texts (one or a pair) as training has them.
_Windows = dict[tuple[str, ...], tuple[list[int], list[int]]]


def export_tokenizer(tokenizer: Tokenizer, folder: Path, max_length: int) -> None:
    """Write a tokenizer of transformers into a folder, and open it from there to check it.

    `max_length`: the positions of the model. Raises DataError if it makes other windows.
    """
    windows = _trained_windows(tokenizer)
    engine = _mend(tokenizer, windows)
    settings = json.dumps(_settings(tokenizer, engine, max_length), indent=2)
    (folder / ENGINE_NAME).write_text(engine.to_str(pretty=True), "utf-8")
    (folder / SETTINGS_NAME).write_text(f"{settings}\n", "utf-8")
    opened = open_with_transformers(str(folder))
    for texts, window in windows.items():
        found = opened(*texts)
        if (found["input_ids"], found["token_type_ids"]) != window:
            raise _cannot_export()
    longest = opened(" ".join(next(iter(windows)) * max_length), truncation=True)
    if _content(opened.backend_tokenizer) != _content(engine) or len(longest[0]) != max_length:
        raise _cannot_export()


def check_export(tokenizer: Tokenizer) -> None:
    """Export a tokenizer to nowhere, before work with it begins. Raises DataError."""
    with TemporaryDirectory() as folder:
        export_tokenizer(tokenizer, Path(folder), _ANY_LENGTH)


def _cannot_export() -> DataError:
    return DataError(
        "the tokenizer does not make the windows that models are trained on: [CLS] a [SEP] b [SEP] "
        "with [MASK] in place of a piece",
        hint="take one made for BERT or ELECTRA, or leave out --tokenizer to train one",
    )


def _settings(tokenizer: Tokenizer, engine: Engine, max_length: int) -> dict[str, Any]:
    """tokenizer_config.json: what follows from the model, and the names of special tokens.

    No other setting is kept: some change what transformers reads from tokenizer.json.
    """
    content = _content(engine)
    is_mended = content != _content(tokenizer.backend_tokenizer)
    is_bert = type(tokenizer).__name__ == _BERT_CLASS and not is_mended
    settings: dict[str, Any] = {
        "tokenizer_class": _BERT_CLASS if is_bert else _PLAIN_CLASS,
        "model_max_length": max_length,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        "padding_side": "right",  # positions count from the left
        "truncation_side": tokenizer.truncation_side,
    }
    known = {role: getattr(tokenizer, role) for role in _ROLES}
    settings |= {role: str(token) for role, token in known.items() if token is not None}
    if tokenizer.extra_special_tokens:  # by the name that transformers 4 has for them
        settings["additional_special_tokens"] = [str(t) for t in tokenizer.extra_special_tokens]
    before_words = (content["pre_tokenizer"] or {}).get("add_prefix_space")
    if before_words is not None:  # or transformers 4 turns it off
        settings["add_prefix_space"] = before_words
    if is_bert:
        settings |= {name: content["normalizer"][key] for name, key in _BERT_SETTINGS.items()}
    return settings


def _mend(tokenizer: Tokenizer, windows: _Windows) -> Engine:
    """A copy of the engine that makes these windows, changed as little as that needs."""
    # Which blanks beside [MASK] belong to it: usually the one before it.
    blanks = (None, (True, False), (True, True))
    for mends_template, sides in product((False, True), blanks):
        content = _content(tokenizer.backend_tokenizer)
        if sides is not None:
            mask = next(t for t in content["added_tokens"] if t["id"] == tokenizer.mask_token_id)
            mask |= {"single_word": False, "normalized": False}
            mask["lstrip"], mask["rstrip"] = sides
        engine = Engine.from_str(json.dumps(content))
        if mends_template:
            engine.post_processor = _template(tokenizer)
        if all(_encode(engine, texts) == window for texts, window in windows.items()):
            return engine
    raise _cannot_export()


def _content(engine: Engine) -> dict[str, Any]:
    """tokenizer.json without what each call of transformers sets."""
    return {**json.loads(engine.to_str()), "padding": None, "truncation": None}


def _encode(engine: Engine, texts: tuple[str, ...]) -> tuple[list[int], list[int]]:
    encoding = engine.encode(texts[0], texts[1] if len(texts) == 2 else None)
    return encoding.ids, encoding.type_ids


def _template(tokenizer: Tokenizer) -> TemplateProcessing:
    tokens = {"cls": tokenizer.cls_token, "sep": tokenizer.sep_token}
    ids = {"cls": tokenizer.cls_token_id, "sep": tokenizer.sep_token_id}
    return TemplateProcessing(
        single="cls:0 $A:0 sep:0",
        pair="cls:0 $A:0 sep:0 $B:1 sep:1",
        special_tokens=[{"id": n, "ids": [ids[n]], "tokens": [str(tokens[n])]} for n in tokens],
    )


def _trained_windows(tokenizer: Tokenizer) -> _Windows:
    """Windows of two words of the vocabulary. Raises DataError where it has no words."""
    engine = Engine.from_str(json.dumps(_content(tokenizer.backend_tokenizer)))

    def encode(text: str) -> list[int]:
        ids: list[int] = engine.encode(text, add_special_tokens=False).ids
        return ids

    special = set(tokenizer.all_special_ids)
    texts = (tokenizer.decode([i]).strip() for i in range(len(tokenizer)) if i not in special)
    words = (word for word in texts if encode(word) and not special & {*encode(word)})
    tried = list(islice(words, _MOST_PAIRS_TRIED))
    tried += tried[:1]  # so that a vocabulary of one word makes a pair, too
    pairs = [
        (a, b) for a, b in pairwise(tried) if encode(f"{a} {b}")[: len(encode(a))] == encode(a)
    ]
    if not pairs:
        raise _cannot_export()
    a, b = next((pair for pair in pairs if "".join(pair).isalpha()), pairs[0])
    cls, sep, mask = tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.mask_token_id
    name = tokenizer.mask_token
    first, second, joined = encode(a), encode(b), encode(f"{a} {b}")
    after = joined[len(first) :]
    single = {
        (a,): first,
        (f"{a} {b}",): joined,
        (f"{a} {name}",): [*first, mask],
        (f"{a}{name}",): [*first, mask],
        (f"{name} {b}",): [mask, *after],
        (f"{a} {name} {b}",): [*first, mask, *after],
    }
    windows: _Windows = {
        texts: ([cls, *ids, sep], [0] * (len(ids) + 2)) for texts, ids in single.items()
    }
    pair = ([cls, *first, sep, *second, sep], [0] * (len(first) + 2) + [1] * (len(second) + 1))
    windows[a, b] = pair
    return windows
