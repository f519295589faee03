"""BERT's tokenizer as transformers builds it, made of `tokenizers` alone.

Importing transformers takes a second, more than encoding 50 MB of text. tokenizers brings
the engine (BertWordPieceTokenizer); it knows neither transformers' names for the special ids nor
tokenizer_config.json, from which transformers builds a tokenizer. Both are added here.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import BertWordPieceTokenizer
from tokenizers.processors import TemplateProcessing

from electra_cli.errors import DataError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MODEL_MAX_LENGTH = 512  # positions of every published ELECTRA
ENGINE_NAME = "tokenizer.json"
SETTINGS_NAME = "tokenizer_config.json"
VOCABULARY_NAME = "vocab.txt"
TAKE_ANOTHER = "take one made for BERT or ELECTRA, or leave out --tokenizer to train one"

# transformers adds these when it saves a tokenizer that it opened; they decide nothing.
_NOT_SETTINGS = ("is_local", "local_files_only")


class BertTokenizer:
    """Word pieces and their engine, under the names of transformers' fast tokenizers."""

    model_max_length = MODEL_MAX_LENGTH  # tokens

    def __init__(
        self, vocab: Mapping[str, int], cased: bool, strip_accents: bool | None = None
    ) -> None:
        """`strip_accents`: None strips them where not `cased`, as in BERT.

        Raises TypeError where `vocab` lacks a special token.
        """
        self._cased = cased
        self._strip_accents = strip_accents
        engine = BertWordPieceTokenizer(
            dict(vocab), lowercase=not cased, strip_accents=strip_accents
        )
        self.all_special_ids = [engine.token_to_id(token) for token in SPECIAL_TOKENS]
        self.pad_token_id, self.unk_token_id, cls, sep, self.mask_token_id = self.all_special_ids
        self.cls_token_id, self.sep_token_id = cls, sep
        engine.post_processor = TemplateProcessing(
            single="[CLS]:0 $A:0 [SEP]:0",
            pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
            special_tokens=[("[CLS]", cls), ("[SEP]", sep)],
        )
        self.backend_tokenizer = engine

    @property
    def settings(self) -> dict[str, Any]:
        """tokenizer_config.json as transformers writes it."""
        return {
            "backend": "tokenizers",
            "cls_token": "[CLS]",
            "do_lower_case": not self._cased,
            "mask_token": "[MASK]",
            "model_max_length": MODEL_MAX_LENGTH,
            "pad_token": "[PAD]",
            "sep_token": "[SEP]",
            "strip_accents": self._strip_accents,
            "tokenize_chinese_chars": True,
            "tokenizer_class": "BertTokenizer",
            "unk_token": "[UNK]",
        }

    def get_vocab(self) -> dict[str, int]:
        """Every token's id, those of special tokens included."""
        vocab: dict[str, int] = self.backend_tokenizer.get_vocab()
        return vocab

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str]:
        """The token of each id."""
        return [str(self.backend_tokenizer.id_to_token(index)) for index in ids]

    def save_pretrained(self, directory: Path) -> None:
        """Write the files of transformers' save_pretrained, byte by byte."""
        directory.mkdir(parents=True, exist_ok=True)
        settings = json.dumps(self.settings, indent=2)
        (directory / SETTINGS_NAME).write_text(f"{settings}\n", "utf-8")
        self.backend_tokenizer.save(str(directory / ENGINE_NAME))


def open_bert_tokenizer(folder: Path) -> BertTokenizer | None:
    """The tokenizer in a folder, if that holds exactly what `save_pretrained` writes.

    None for whatever else it holds, damaged files too: transformers knows what those mean.
    """
    try:
        if {path.name for path in folder.iterdir()} != {ENGINE_NAME, SETTINGS_NAME}:
            return None
        settings = json.loads((folder / SETTINGS_NAME).read_bytes())
        content = json.loads((folder / ENGINE_NAME).read_bytes())
        tokenizer = BertTokenizer(
            content["model"]["vocab"], not settings["do_lower_case"], settings["strip_accents"]
        )
    except Exception:  # as in load_tokenizer, for what is missing or damaged in the files
        return None
    for name in _NOT_SETTINGS:
        settings.pop(name, None)
    is_same = settings == tokenizer.settings
    # transformers goes by the settings where tokenizer.json says something else.
    is_same = is_same and content == json.loads(tokenizer.backend_tokenizer.to_str())
    return tokenizer if is_same else None


def open_vocabulary(folder: Path) -> BertTokenizer | None:
    """The tokenizer of a folder that has a vocab.txt alone, as those of the authors' checkpoints.

    It is cased if a piece has an upper-case letter. None for other folders. Raises DataError for a
    vocabulary that is not BERT's.
    """
    file = folder / VOCABULARY_NAME
    others = (ENGINE_NAME, SETTINGS_NAME, "config.json")
    if not file.is_file() or any((folder / name).exists() for name in others):
        return None
    try:
        # As transformers: a piece may be U+2028 or another of the ends that splitlines knows.
        tokens = file.read_text("utf-8-sig").removesuffix("\n").split("\n")
    except ValueError:
        raise DataError(f"{file} is not in UTF-8", hint="save it as UTF-8") from None
    vocab = {token: index for index, token in enumerate(tokens)}
    if missing := [token for token in SPECIAL_TOKENS if token not in vocab]:
        raise DataError(
            f"{file} has no {', '.join(missing)}, which ELECTRA needs", hint=TAKE_ANOTHER
        )
    if twice := next((t for index, t in enumerate(tokens) if vocab[t] != index), None):
        raise DataError(
            f"{file} holds {twice!r} twice, so its id is in doubt", hint="remove one of the two"
        )
    plain = (token for token in tokens if not (token.startswith("[") and token.endswith("]")))
    return BertTokenizer(vocab, cased=any(token != token.lower() for token in plain))
