"""Load, save and fingerprint a tokenizer.

transformers is imported only for tokenizers that `electra prepare` did not make.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from electra_cli.data.bert_tokenizer import (
    MODEL_MAX_LENGTH,
    SETTINGS_NAME,
    TAKE_ANOTHER,
    BertTokenizer,
    open_bert_tokenizer,
    open_vocabulary,
)
from electra_cli.disk import as_argument, as_os_error
from electra_cli.errors import DataError
from electra_cli.hub import HUB_TIMEOUT_SECONDS, check_model
from electra_cli.machine import is_limit_reached

# A BertTokenizer, or a fast tokenizer of transformers, which carries no types.
Tokenizer: TypeAlias = Any

_VOCABULARY_FILES = ("tokenizer.json", "vocab.*", "*.model")
Announce: TypeAlias = Callable[[str], AbstractContextManager[object]]


def load_tokenizer(name: str | Path, announce: Announce = nullcontext) -> Tokenizer:
    """Open a tokenizer's folder, or a Hugging Face id (from the cache first, then the network).

    `announce` says what is waited for while the block that it returns takes long.
    Raises DataError when there is none, it is damaged, or it does not suit ELECTRA.
    """
    if Path(name).is_file():
        raise DataError(
            f"{name} is a file, and a tokenizer is a folder",
            hint=f"name the folder: {as_argument(Path(name).parent)}",
        )
    for open_quickly in (open_bert_tokenizer, open_vocabulary):
        if (bert := open_quickly(Path(name))) is not None:
            return bert
    try:
        tokenizer = open_with_transformers(str(name), announce)
    # transformers and tokenizers raise OSError, ValueError, KeyError and bare Exception where a
    # file that the user chose lacks something or is damaged.
    except Exception as error:
        if is_limit_reached(error):
            raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(
            f"cannot open the tokenizer {name}: {reason}"
            if Path(name).exists()
            else f"no folder {name}, and no such tokenizer on the Hugging Face hub ({reason})",
            hint="give a folder with tokenizer.json and tokenizer_config.json, or the id of a "
            "tokenizer on the hub (needs the network the first time)",
        ) from error
    if not tokenizer.is_fast:
        raise DataError(
            f"the tokenizer {name} has no fast version",
            hint="save one that has a tokenizer.json, or leave out --tokenizer to train one",
        )
    roles = ("pad_token", "cls_token", "sep_token", "mask_token")
    missing = [role for role in roles if getattr(tokenizer, role) is None]
    if missing:
        raise DataError(
            f"the tokenizer {name} has no {', '.join(missing)}, which ELECTRA needs",
            hint=f"name them in {SETTINGS_NAME}, {TAKE_ANOTHER}",
        )
    _refuse_doubled(tokenizer)
    return tokenizer


def _refuse_doubled(tokenizer: Tokenizer) -> None:
    """Raise DataError for two added tokens that the normaliser makes one.

    Each time such a tokenizer is opened, chance decides which id a word gets.
    """
    normalizer = tokenizer.backend_tokenizer.normalizer
    seen: dict[str, str] = {}
    for token in describe(tokenizer)["added_tokens"] if normalizer else ():
        form = normalizer.normalize_str(token["content"])
        if token["normalized"] and seen.setdefault(form, token["content"]) != token["content"]:
            raise DataError(
                f"the tokenizer's added tokens {seen[form]!r} and {token['content']!r} are the "
                f"same, {form!r}, when text is normalised",
                hint="remove one of them: which of the two ids a word gets is chance",
            )


def open_with_transformers(name: str, announce: Announce = nullcontext) -> Tokenizer:
    """Open it; code that comes with it never runs, and nobody is asked whether it may."""
    from transformers import AutoTokenizer  # loads torch

    folder = Path(name)
    try:
        if folder.is_dir() and not [f for form in _VOCABULARY_FILES for f in folder.glob(form)]:
            # transformers may make one of special tokens alone, by the model type in config.json.
            raise OSError("it holds no file with a vocabulary")
        return AutoTokenizer.from_pretrained(name, local_files_only=True, trust_remote_code=False)
    except OSError:
        if Path(name).exists():
            raise
    # Without a network this fails at once; from_pretrained would retry for a minute.
    waiting = f"waiting for the Hugging Face Hub to answer about the tokenizer {name}, for up to"
    with announce(f"{waiting} {HUB_TIMEOUT_SECONDS:.0f} s"):
        check_model(name)
    return AutoTokenizer.from_pretrained(name, trust_remote_code=False)


def save_tokenizer(tokenizer: Tokenizer, directory: Path) -> Tokenizer:
    """Write a folder that AutoTokenizer opens, and return the tokenizer as opened from it.

    Raises OSError if it cannot be written.
    """
    if tokenizer.model_max_length > MODEL_MAX_LENGTH * 1_000:  # 1e30 is transformers' "not known"
        tokenizer.model_max_length = MODEL_MAX_LENGTH
    try:
        tokenizer.save_pretrained(directory)
    except Exception as error:  # the engine raises a bare one
        reason = as_os_error(error)
        if reason is None:
            raise
        raise reason from error
    # A BertTokenizer is opened as it was saved; transformers may change one of its own.
    return tokenizer if isinstance(tokenizer, BertTokenizer) else load_tokenizer(directory)


@lru_cache(maxsize=1)  # prepare needs it twice, and each takes 30 ms
def fingerprint(tokenizer: Tokenizer) -> str:
    """SHA-256 of all that decides the ids; the same before saving and after loading."""
    per_call = ("padding", "truncation")  # they do not change the tokenizer
    content = {k: v for k, v in describe(tokenizer).items() if k not in per_call}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def count_ids(tokenizer: Tokenizer) -> int:
    """V: one more than the largest id, so that a table of V rows has a place for every id."""
    return int(max(tokenizer.get_vocab().values())) + 1


def word_starts(tokenizer: Tokenizer) -> NDArray[np.bool_]:
    """[V]: True for ids that begin a word, as the tokenizer's own vocabulary marks them.

    True for special tokens, and for every token of a vocabulary without marks.
    """
    content = describe(tokenizer)
    starts = np.ones(count_ids(tokenizer), dtype=np.bool_)
    special = set(tokenizer.all_special_ids)
    prefix = content["model"].get("continuing_subword_prefix")
    mark = _word_mark(content)
    for token, index in tokenizer.get_vocab().items():
        if index in special:
            continue
        if prefix:
            starts[index] = not token.startswith(prefix)
        elif mark:
            starts[index] = token.startswith(mark)
    return starts


def _word_mark(content: Mapping[str, Any]) -> str | None:
    """The character for the blank before a word, in byte-level and metaspace vocabularies."""
    layers = json.dumps([content.get("pre_tokenizer"), content.get("decoder")])
    if '"ByteLevel"' in layers:
        return "Ġ"
    if '"Metaspace"' in layers:
        return "▁"
    return None


@lru_cache(maxsize=1)  # prepare needs it three times, and each takes 10 ms
def describe(tokenizer: Tokenizer) -> Mapping[str, Any]:
    """The content of tokenizer.json."""
    content: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    return content
