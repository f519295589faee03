"""Encode many documents fast.

Text never becomes a special token: a literal "[MASK]" in a document is encoded as the characters
it is made of. nanotoken (the extra `fast`) encodes 20 to 40 times faster than Hugging Face
tokenizers. It serves only tokenizers of BERT's own steps, for which its ids are the same; every
`electra prepare` also checks that on a sample of its own documents.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as Engine

from electra_cli.data.tokenizer import Tokenizer, count_ids, describe
from electra_cli.preparing.chunks import CHUNK_CHARS, cut_text, group_texts
from electra_cli.preparing.lost_text import LostTextCounter

TokenIds: TypeAlias = NDArray[np.unsignedinteger]


class FastEngine(Protocol):
    """nanotoken.Tokenizer."""

    def encode_batch(
        self, texts: Sequence[bytes], *, add_special_tokens: bool, parallel: bool
    ) -> Any:
        """`ids` of all texts one after the other, and `offsets` of each text in them."""


class NoFastEngineError(Exception):
    """Why Hugging Face tokenizers encode, and what the user can do about it."""

    def __init__(self, reason: str, hint: str = "no action needed: the ids are the same") -> None:
        super().__init__(reason)
        self.hint = hint


def open_fast_engine(tokenizer_json: str) -> FastEngine:
    """Raises NoFastEngineError if it is not installed, or cannot read this tokenizer."""
    try:
        import nanotoken
    except ImportError:
        raise NoFastEngineError(
            "the fast engine is not installed", hint="pip install 'electra-cli[fast]'"
        ) from None
    try:
        engine: FastEngine = nanotoken.Tokenizer.from_json(tokenizer_json)
    except nanotoken.UnsupportedTokenizerError:
        raise NoFastEngineError("the fast engine cannot read this tokenizer") from None
    return engine


def _why_not_bert(content: Mapping[str, Any]) -> str | None:
    """What in tokenizer.json goes beyond BERT's own steps; None if nothing does.

    These steps look at one character or one word at a time. nanotoken was compared with Hugging
    Face on them with all settings and all characters (tests/preparing/test_encoder.py).
    """
    if added := [token["content"] for token in content["added_tokens"] if not token["special"]]:
        return f"the fast engine does not know added tokens (such as {added[0]!r})"
    model, normalizer = content["model"], content["normalizer"] or {"type": "BertNormalizer"}
    is_bert = (
        model["type"] == "WordPiece"
        and model["continuing_subword_prefix"] == "##"
        and model["unk_token"] in model["vocab"]
        and normalizer["type"] == "BertNormalizer"
        and content["pre_tokenizer"] == {"type": "BertPreTokenizer"}
    )
    return None if is_bert else "the fast engine cannot read this tokenizer"


class TextEncoder:
    """Texts to ids, in batches: no special tokens are added, and none arises from text.

    AutoTokenizer gives the same ids with add_special_tokens=False and split_special_tokens=True.
    `dtype` is the smallest that holds every id, `vocab_size` one more than the largest.
    `why_slow` says why the fast engine does not encode; None where it does. `lost_text` counts
    what is lost of texts.
    """

    def __init__(
        self, tokenizer: Tokenizer, open_engine: Callable[[str], FastEngine] = open_fast_engine
    ) -> None:
        # A copy: transformers sets truncation, padding and special tokens again at every call.
        self._engine = Engine.from_str(tokenizer.backend_tokenizer.to_str())
        self._engine.encode_special_tokens = True
        self._engine.no_truncation()
        self._engine.no_padding()
        content = describe(tokenizer)
        # Cuts are made for BERT's steps alone, and beside Chinese where it stands alone.
        reason = _why_not_bert(content)
        self.lost_text = LostTextCounter(
            self._engine, content, tokenizer.unk_token_id, is_bert=not reason
        )
        self._cuts_texts = not reason and (content["normalizer"] or {}).get("handle_chinese_chars")
        self._fast_engine: FastEngine | None = None
        self.why_slow: NoFastEngineError | None = None
        try:
            if reason:
                raise NoFastEngineError(reason)
            # Without added tokens a literal "[MASK]" is text for the fast engine, too.
            plain = {**content, "added_tokens": [], "post_processor": None}
            self._fast_engine = open_engine(json.dumps(plain))
        except NoFastEngineError as error:
            self.why_slow = error
        self.vocab_size = count_ids(tokenizer)
        self.dtype = np.dtype(np.uint16 if self.vocab_size <= 2**16 else np.uint32)

    @property
    def is_fast(self) -> bool:
        """Whether the fast engine encodes."""
        return self._fast_engine is not None

    def check_fast_engine(self, texts: Sequence[bytes]) -> None:
        """Encode these texts with both engines; after a difference, only use the slow one."""
        if not self.is_fast:
            return
        pairs = zip(self.encode(texts), self._encode_slowly(texts), strict=True)
        if not all(np.array_equal(fast, slow) for fast, slow in pairs):
            self._fast_engine = None
            self.why_slow = NoFastEngineError(
                "the fast engine's ids differ from Hugging Face's on the first documents"
            )

    def encode(self, texts: Sequence[bytes]) -> tuple[TokenIds, NDArray[np.int64]]:
        """The ids of all texts (UTF-8) one after the other, and the number of ids of each text.

        The fast engine works in the calling thread, without the interpreter's lock.
        """
        if self._fast_engine is None:
            return self._encode_slowly(texts)
        # Two threads that each call it take a quarter less time than its own two threads, which
        # wait for each other at the end of each call.
        encoded = self._fast_engine.encode_batch(texts, add_special_tokens=False, parallel=False)
        return encoded.ids.astype(self.dtype), np.diff(encoded.offsets).astype(np.int64)

    def _encode_slowly(self, texts: Sequence[bytes]) -> tuple[TokenIds, NDArray[np.int64]]:
        """encode with Hugging Face tokenizers: some 2 MB per second on two cores."""
        counts = [0]
        pieces: list[str] = []
        for text in texts:
            pieces.extend(cut_text(text.decode()) if self._cuts_texts else [text.decode()])
            counts.append(len(pieces))
        encoded = [self._encode_pieces(chunk) for chunk in group_texts(pieces, CHUNK_CHARS)]
        if not encoded:
            return np.zeros(0, dtype=self.dtype), np.zeros(len(texts), dtype=np.int64)
        ends = np.concatenate([[0], *(lengths for _, lengths in encoded)]).cumsum()[counts]
        return np.concatenate([ids for ids, _ in encoded]), np.diff(ends)

    def _encode_pieces(self, pieces: list[str]) -> tuple[TokenIds, NDArray[np.int64]]:
        """One call of the engine: everything it makes is freed before the next."""
        encodings = self._engine.encode_batch_fast(pieces, add_special_tokens=False)
        lengths = np.fromiter(map(len, encodings), dtype=np.int64, count=len(encodings))
        ids = np.fromiter(
            chain.from_iterable(encoding.ids for encoding in encodings),
            dtype=self.dtype,
            count=int(lengths.sum()),
        )
        return ids, lengths
