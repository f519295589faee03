"""Texts -> windows of token ids as the encoder's tokenizer makes them, and packed batches of them.

Every token is accounted for: `InputCounts` says what was split or cut.
"""

# Shapes: T tokens of a batch, B windows, N slots.

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer as Engine

from electra_cli.batch import LabelledBatch
from electra_cli.data.tokenizer import Tokenizer

# Texts that are encoded at a time: enough for all threads of the tokenizer.
_ENCODED_AT_ONCE = 1_024
_QUESTION_TOKENS = 64  # google-research/electra, qa_tasks.py:292: longer questions are cut
SHORTEN_QUESTIONS = (
    f"no option reads more than {_QUESTION_TOKENS} tokens of a question, as in the authors' code: "
    "shorten it"
)


class Window(NamedTuple):
    """One input of the model, and what is asked of it."""

    ids: NDArray[np.int32]  # [n]
    segments: NDArray[np.int8]  # [n]
    slots: list[int]  # places whose outputs count: 0 for [CLS], or words' first pieces
    example: int  # its number in the split
    words: Sequence[int] = ()  # of tags: which word each slot is
    spans: Sequence[tuple[int, int]] = ()  # of qa: characters of the context per token, or (0, 0)


@dataclass
class InputCounts:
    """What a reader of the scores should know of the inputs of a split."""

    examples: int = 0
    windows: int = 0
    tokens: int = 0  # of the texts, special ones not counted
    split_examples: int = 0  # read in several windows, which answer together
    cut_examples: int = 0
    cut_tokens: int = 0
    cut_parts: str = ""  # what of these examples is cut: "questions"
    cut_rule: str = ""  # and when: these examples "have a question of more than 64 tokens"
    uncut_length: float = 0  # windows that would cut nothing, in tokens; inf: none would
    words_without_tokens: int = 0
    longest: int = 0  # input, in tokens
    beyond: int = field(default=0)  # inputs longer than the windows of pre-training

    def describe_cut(self, of: str) -> str:
        """What is cut, in words. of: "1,000 training examples"."""
        share = self.cut_tokens / self.tokens
        return f"{self.cut_examples:,} of {of} {self.cut_rule}; {share:.1%} of all tokens are cut"


class InputBuilder:
    """Turns texts into windows of at most `max_length` tokens."""

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        self._engine = Engine.from_str(tokenizer.backend_tokenizer.to_str())
        self._engine.encode_special_tokens = True  # a literal [SEP] is text, as in pre-training
        self._engine.no_truncation()
        self._engine.no_padding()
        self.max_length = max_length
        self.counts = InputCounts()

    def texts(self, texts: Sequence[str], pairs: Sequence[str] | None) -> Iterator[Window]:
        """[CLS] text [SEP] or [CLS] text [SEP] pair [SEP]; what is too long has several windows.

        Of a pair the longer text is cut into windows, each beside the other text, of which at most
        half a window is read. (The authors cut, classification_tasks.py:296-310.)
        """
        for first in range(0, len(texts), _ENCODED_AT_ONCE):
            part = slice(first, first + _ENCODED_AT_ONCE)
            encoded = self._encode(texts[part])
            seconds = self._encode(pairs[part]) if pairs else [None] * len(encoded)
            for index, (one, two) in enumerate(zip(encoded, seconds, strict=True), start=first):
                yield from self._windows_of_texts(one, two, index)

    def _windows_of_texts(self, one: Any, two: Any, index: int) -> Iterator[Window]:
        """Of encodings, the second of which may be None."""
        room = self.max_length - self._engine.num_special_tokens_to_add(two is not None)
        self.counts.tokens += len(one) + (0 if two is None else len(two))
        longer, other = (one, two) if two is None or len(one) > len(two) else (two, one)
        if other is not None and len(one) + len(two) > room:
            if len(other) > room // 2:
                self._count_cut(
                    "shorter texts of pairs",
                    f"do not fit into windows of {self.max_length} tokens, and of the shorter text "
                    "of a pair at most half a window is read",
                    len(other) - room // 2,
                    2 * len(other) + self.max_length - room,
                )
                other.truncate(room // 2)
            room -= len(other)
        longer.truncate(room)
        parts = (longer, *longer.overflowing)
        self.counts.split_examples += len(parts) > 1
        for part in parts:
            sides = (part, other) if longer is one else (other, part)
            yield self._finish(self._engine.post_process(*sides), [0], index)

    def sentences(self, sentences: Sequence[Sequence[str]]) -> Iterator[Window]:
        """Words -> windows of whole words; a slot at the first token of each.

        A word that the tokenizer drops has no slot; the tokens of a word longer than a window are
        cut.
        """
        room = self.max_length - self._engine.num_special_tokens_to_add(False)
        for first in range(0, len(sentences), _ENCODED_AT_ONCE):
            part = [list(words) for words in sentences[first : first + _ENCODED_AT_ONCE]]
            encoded = self._engine.encode_batch(
                part, is_pretokenized=True, add_special_tokens=False
            )
            for index, (words, one) in enumerate(zip(part, encoded, strict=True), start=first):
                self.counts.tokens += len(one)
                pieces: dict[int, list[int]] = {}
                for at, word in enumerate(one.word_ids):
                    assert word is not None  # only special tokens belong to no word
                    pieces.setdefault(word, []).append(at)
                self.counts.words_without_tokens += len(words) - len(pieces)
                yield from self._windows_of_words(one.ids, pieces, room, index)

    def _windows_of_words(
        self, ids: Sequence[int], pieces: dict[int, list[int]], room: int, index: int
    ) -> Iterator[Window]:
        before, after, segments = self._frame()
        chosen: list[int] = []
        slots: list[int] = []
        words: list[int] = []

        def window() -> Window:
            all_ids = [*before, *(ids[at] for at in chosen), *after]
            return self._count(Window(*_arrays(all_ids, segments), slots, index, words))

        lost = sum(max(0, len(places) - room) for places in pieces.values())
        if lost:
            self._count_cut(
                "words",
                f"have a word that is longer than a window of {self.max_length} tokens",
                lost,
                max(map(len, pieces.values())) + self.max_length - room,
            )
        for word, places in pieces.items():
            kept = places[:room]
            if len(chosen) + len(kept) > room:
                yield window()
                chosen, slots, words = [], [], []
            slots.append(len(before) + len(chosen))
            words.append(word)
            chosen.extend(kept)
        if words:
            yield window()

    def documents(self, texts: Sequence[str]) -> Iterator[Window]:
        """Windows over each text, side by side; a slot at every token but special ones."""
        special = self._engine.num_special_tokens_to_add(False)
        room = self.max_length - special
        for first in range(0, len(texts), _ENCODED_AT_ONCE):
            encoded = self._encode(texts[first : first + _ENCODED_AT_ONCE])
            for index, one in enumerate(encoded, start=first):
                self.counts.tokens += len(one)
                one.truncate(room)
                for part in (one, *one.overflowing):
                    whole = self._engine.post_process(part)
                    slots = [at for at, mask in enumerate(whole.special_tokens_mask) if not mask]
                    yield self._finish(whole, slots, index)

    def questions(
        self, questions: Sequence[str], contexts: Sequence[str], stride: int
    ) -> Iterator[Window]:
        """[CLS] question [SEP] window of the context [SEP], the next `stride` tokens further on.

        Of a question at most 64 tokens are read, and half a window.
        """
        special = self._engine.num_special_tokens_to_add(True)
        most = min(_QUESTION_TOKENS, (self.max_length - special) // 2)
        asked, read = self._encode(questions), self._encode(contexts)
        for index, (question, context) in enumerate(zip(asked, read, strict=True)):
            self.counts.tokens += len(question) + len(context)
            if len(question) > most:
                is_mended = len(question) <= _QUESTION_TOKENS
                self._count_cut(
                    "questions",
                    f"have a question of more than {most} tokens, and the rest of it is not read",
                    len(question) - most,
                    2 * len(question) + special if is_mended else math.inf,
                )
                question.truncate(most)
            room = self.max_length - special - len(question)
            context.truncate(room, stride=max(0, room - stride))
            for part in (context, *context.overflowing):
                whole = self._engine.post_process(question, part)
                sides = whole.sequence_ids
                spans = [
                    span if side == 1 else (0, 0)
                    for span, side in zip(whole.offsets, sides, strict=True)
                ]
                yield self._finish(whole, [0], index)._replace(spans=spans)

    def _encode(self, texts: Sequence[str]) -> list[Any]:
        encoded: list[Any] = self._engine.encode_batch(list(texts), add_special_tokens=False)
        return encoded

    def _frame(self) -> tuple[list[int], list[int], int]:
        """The special tokens before and after a single text, and its segment."""
        empty = self._engine.encode("", add_special_tokens=True)
        return [*empty.ids[:1]], [*empty.ids[1:]], 0

    def _finish(self, encoding: Any, slots: list[int], index: int) -> Window:
        return self._count(Window(*_arrays(encoding.ids, encoding.type_ids), slots, index))

    def _count_cut(self, parts: str, rule: str, tokens: int, uncut_length: float) -> None:
        """One more example, of which so many tokens are cut."""
        counts = self.counts
        counts.cut_examples += 1
        counts.cut_tokens += tokens
        counts.cut_parts, counts.cut_rule = parts, rule
        counts.uncut_length = max(counts.uncut_length, uncut_length)

    def _count(self, window: Window) -> Window:
        self.counts.windows += 1
        self.counts.longest = max(self.counts.longest, len(window.ids))
        return window


def _arrays(ids: Any, segments: Any) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    array = np.asarray(ids, dtype=np.int32)
    return array, np.broadcast_to(np.asarray(segments, dtype=np.int8), array.shape)


def pack(windows: Sequence[Window], targets: Sequence[NDArray[Any]]) -> LabelledBatch:
    """Windows and the targets of their slots [slots, ...] -> one batch without padding."""
    lengths = np.array([len(window.ids) for window in windows])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    positions = [
        start + slot for start, w in zip(starts, windows, strict=False) for slot in w.slots
    ]
    ids = np.concatenate([window.ids for window in windows]).astype(np.int64)
    segments = np.concatenate([window.segments for window in windows]).astype(np.int64)
    return LabelledBatch(
        input_ids=torch.from_numpy(ids),
        token_type_ids=torch.from_numpy(segments),
        position_ids=torch.from_numpy(np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)),
        cu_seqlens=torch.from_numpy(starts.astype(np.int32)),
        document_ids=torch.tensor([window.example for window in windows]),
        positions=torch.tensor(positions, dtype=torch.int64),
        targets=torch.from_numpy(np.concatenate(targets)),
        max_length=int(lengths.max()),
    )
