"""Count what a tokenizer loses of texts: accents, removed characters, and text in [UNK].

By character, since ids do not tell: one [UNK] may stand for a letter or for a page.
"""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as Engine
from tokenizers.pre_tokenizers import ByteLevel

from electra_cli.data.report import TextCounts
from electra_cli.preparing.chunks import group_texts

_NUM_CODE_POINTS = 0x110000
_BLOCK_BYTES = 1 << 17  # stays in the processor's cache
_NEW, _KEPT, _BLANK, _STRIPPED, _REMOVED = range(5)  # what becomes of a character


class LostTextCounter:
    """Counts for one tokenizer; several threads may use it at once.

    The normaliser is asked once about each character, between two letters. That is exact for
    BERT's, which looks at each character alone.
    """

    def __init__(
        self, engine: Engine, content: Mapping[str, Any], unknown_id: int | None, is_bert: bool
    ) -> None:
        """`content` of tokenizer.json; `is_bert`: it has no steps but BERT's own."""
        self._engine = engine
        self._unknown_id = unknown_id
        self._is_bert = is_bert
        self._may_drop = not is_bert and _may_drop(content)
        self._kinds: NDArray[np.uint8] = np.full(_NUM_CODE_POINTS, _NEW, dtype=np.uint8)
        self._lengths: NDArray[np.uint8] = np.zeros(_NUM_CODE_POINTS, dtype=np.uint8)
        vocab = engine.get_vocab()
        self._token_lengths = np.zeros(max(vocab.values()) + 1, dtype=np.int64)
        for token, index in vocab.items():
            if index != unknown_id:
                self._token_lengths[index] = len(token.removeprefix("##"))

    def count(
        self, texts: Sequence[bytes], ids: NDArray[np.unsignedinteger], lengths: NDArray[np.int64]
    ) -> TextCounts:
        """Counts of texts (UTF-8) with these ids, `lengths` of them in each text.

        For BERT without the unknown characters: with_unknown adds them to the sum.
        """
        others: list[bytes] = []
        num_plain = 0  # printable ASCII: BERT keeps each character as one
        for group in group_texts(texts, _BLOCK_BYTES):
            others.append(b" ".join(group))
            if self._is_bert:
                data = np.frombuffer(others[-1], dtype=np.uint8)
                others[-1] = data[data - np.uint8(0x20) >= 0x5F].tobytes()
                num_plain += len(data) - len(others[-1]) - int(np.count_nonzero(data == 0x20))
        counts = np.bincount(_code_points(b"".join(others).decode()))
        points = np.flatnonzero(counts)
        counts = counts[points]
        for point in points[self._kinds[points] == _NEW].tolist():
            self._learn(point)
        kinds = self._kinds[points]
        num_bytes = counts * (1 + (points >= 0x80) + (points >= 0x800) + (points >= 0x10000))
        return TextCounts(
            characters=num_plain + int(counts[kinds != _BLANK].sum()),
            stripped_characters=int(counts[kinds == _STRIPPED].sum()),
            stripped_bytes=int(num_bytes[kinds == _STRIPPED].sum()),
            removed_characters=int(counts[kinds == _REMOVED].sum()),
            removed_bytes=int(num_bytes[kinds == _REMOVED].sum()),
            encoded_characters=num_plain + int((counts * self._lengths[points]).sum()),
            unknown_characters=0 if self._is_bert else self._count_unknown(texts, ids, lengths),
        )

    def with_unknown(self, text: TextCounts, id_counts: NDArray[np.int64]) -> TextCounts:
        """The sum of all counts, with the unknown characters; id_counts [V] of the same texts.

        BERT's tokens hold the encoded characters, each of them once: what known tokens do not
        hold is in [UNK].
        """
        if not self._is_bert:
            return text
        known = int(id_counts @ self._token_lengths)
        return text.model_copy(update={"unknown_characters": text.encoded_characters - known})

    def _learn(self, point: int) -> None:
        """Ask the normaliser what becomes of a character."""
        character = chr(point)
        before = f"a{character}a"
        normalizer = self._engine.normalizer
        after = normalizer.normalize_str(before) if normalizer else before
        vanishes = normalizer is not None and after == normalizer.normalize_str("aa")
        if character in " \t\n\r" or (character.isspace() and not vanishes):
            kind = _BLANK
        elif vanishes:
            kind = _STRIPPED if _has_mark(character) else _REMOVED
        else:
            lost = Counter(_parts(before)) - Counter(_parts(after))
            kind = _STRIPPED if _has_mark(lost) else _KEPT
            self._lengths[point] = len("".join(after.split())) - 2
        self._kinds[point] = kind

    def _count_unknown(
        self, texts: Sequence[bytes], ids: NDArray[np.unsignedinteger], lengths: NDArray[np.int64]
    ) -> int:
        """Characters that no known token holds, where steps are not BERT's."""
        ends = [0, *lengths.cumsum().tolist()]
        return sum(
            self._count_uncovered(text.decode())
            for text, (start, end) in zip(texts, pairwise(ends), strict=True)
            if self._may_drop or (ids[start:end] == self._unknown_id).any()
        )

    def _count_uncovered(self, text: str) -> int:
        """Characters outside of all known tokens. Slow: asks the engine where tokens lie."""
        encoding = self._engine.encode(text, add_special_tokens=False)
        changes = np.zeros(len(text) + 1, dtype=np.int64)
        for index, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            if index != self._unknown_id:
                changes[start] += 1
                changes[end] -= 1
        points = _code_points(text)
        return int((self._lengths[points][changes.cumsum()[:-1] == 0] > 0).sum())


def _may_drop(content: Mapping[str, Any]) -> bool:
    """Whether text may vanish without an [UNK].

    BPE does that where it has no piece for a character and no unknown token. A vocabulary with
    all 256 letters of ByteLevel has one for each.
    """
    model = content["model"]
    return '"Removed"' in json.dumps(content["pre_tokenizer"]) or (
        model["type"] == "BPE"
        and model["unk_token"] is None
        and not model["byte_fallback"]
        and not model["vocab"].keys() >= set(ByteLevel.alphabet())
    )


def _has_mark(characters: Iterable[str]) -> bool:
    """Whether an accent or a vowel sign is among them."""
    return any(unicodedata.category(character).startswith("M") for character in characters)


def _parts(text: str) -> str:
    """Letters and accents one by one, in lower case, without blanks."""
    return "".join(unicodedata.normalize("NFKD", text.lower()).split())


def _code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
