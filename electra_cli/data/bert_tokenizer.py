"""BERT's tokenizer, as transformers' BertTokenizer builds it, without transformers.

Loading that takes a second, more than encoding 50 MB of text. The engine, `tokenizers`, is the
same. The names of the attributes are transformers', whose other fast tokenizers serve as well.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Engine
from tokenizers import decoders
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MODEL_MAX_LENGTH = 512  # positions of every published ELECTRA
ENGINE_NAME = "tokenizer.json"
SETTINGS_NAME = "tokenizer_config.json"

# What transformers writes down of how it found a tokenizer that it saves again.
_NOT_SETTINGS = ("is_local", "local_files_only")
_SPECIAL_ROLES = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")


class BertTokenizer:
    """A vocabulary of word pieces, and what tokenizer_config.json says beside it."""

    is_fast = True

    def __init__(self, vocab: Mapping[str, int], settings: Mapping[str, Any]) -> None:
        self._settings = dict(settings)
        special: list[str] = [settings[role] for role in _SPECIAL_ROLES]
        engine = Engine(WordPiece(dict(vocab), unk_token=settings["unk_token"]))
        engine.normalizer = BertNormalizer(
            clean_text=True,
            handle_chinese_chars=settings["tokenize_chinese_chars"],
            strip_accents=settings["strip_accents"],
            lowercase=settings["do_lower_case"],
        )
        engine.pre_tokenizer = BertPreTokenizer()
        engine.decoder = decoders.WordPiece(prefix="##")
        engine.add_special_tokens(special)
        known = engine.get_vocab()
        ids = [known[token] for token in special]
        self.pad_token_id, self.unk_token_id, self.cls_token_id = ids[:3]
        self.sep_token_id, self.mask_token_id = ids[3:]
        self.all_special_ids = ids
        cls, sep = settings["cls_token"], settings["sep_token"]
        engine.post_processor = TemplateProcessing(
            single=f"{cls}:0 $A:0 {sep}:0",
            pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
            special_tokens=[(cls, self.cls_token_id), (sep, self.sep_token_id)],
        )
        self.backend_tokenizer = engine

    @property
    def model_max_length(self) -> int:
        """Tokens that a model takes at most; saved with the tokenizer."""
        return int(self._settings["model_max_length"])

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
        settings = json.dumps(self._settings, indent=2, sort_keys=True, ensure_ascii=False)
        (directory / SETTINGS_NAME).write_text(f"{settings}\n", "utf-8")
        self.backend_tokenizer.save(str(directory / ENGINE_NAME))


def bert_settings(cased: bool) -> dict[str, Any]:
    """tokenizer_config.json as transformers writes it for a BertTokenizer."""
    return {
        "backend": "tokenizers",
        "do_lower_case": not cased,
        "model_max_length": MODEL_MAX_LENGTH,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "tokenizer_class": "BertTokenizer",
        **dict(zip(_SPECIAL_ROLES, SPECIAL_TOKENS, strict=True)),
    }


def open_bert_tokenizer(folder: Path) -> BertTokenizer | None:
    """The tokenizer in a folder, if that holds exactly what save_pretrained writes for it.

    None for whatever else it holds, damaged files too: transformers knows what those mean.
    """
    try:
        if {path.name for path in folder.iterdir()} != {ENGINE_NAME, SETTINGS_NAME}:
            return None
        settings = json.loads((folder / SETTINGS_NAME).read_bytes())
        for name in _NOT_SETTINGS:
            settings.pop(name, None)
        content = json.loads((folder / ENGINE_NAME).read_bytes())
        if settings.keys() != bert_settings(cased=False).keys():
            return None
        if settings["tokenizer_class"] != "BertTokenizer":
            return None
        tokenizer = BertTokenizer(content["model"]["vocab"], settings)
    except Exception:  # as in load_tokenizer, for what is missing or damaged in the files
        return None
    # transformers goes by the settings where tokenizer.json says something else.
    is_same = json.loads(tokenizer.backend_tokenizer.to_str()) == content
    return tokenizer if is_same else None
