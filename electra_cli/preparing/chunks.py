"""Cut texts into pieces that can be encoded one by one, and group them into calls."""

import re
from collections.abc import Iterable, Iterator
from typing import AnyStr

PIECE_CHARS = 100_000  # longer texts are cut, since the engine holds about 200 bytes a token
CHUNK_CHARS = 2_000_000  # texts encoded in one call: work for many threads, 100 to 400 MB
_CUT_SEARCH_CHARS = 1_000
_BLANK = re.compile(r"(?<=\S)[ \n]")
# What BERT's pre-tokenizer sets apart whatever stands beside it: ASCII punctuation, Chinese.
_SET_APART = re.compile(r"[!-/:-@\[-`{-~\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0002a6df]")


def group_texts(texts: Iterable[AnyStr], max_size: int) -> Iterator[list[AnyStr]]:
    """Lists of texts, each of about `max_size` characters or bytes: the last may go over it."""
    group: list[AnyStr] = []
    size = 0
    for text in texts:
        group.append(text)
        size += len(text)
        if size >= max_size:
            yield group
            group, size = [], 0
    if group:
        yield group


def cut_text(text: str) -> Iterator[str]:
    """Pieces of at most PIECE_CHARS characters whose ids, joined, are those of the whole text.

    Cuts before a blank; where there is none nearby, before a character that BERT sets apart;
    where there is neither (a "word" of a thousand characters), anywhere.
    """
    start = 0
    while len(text) - start > PIECE_CHARS:
        cut = _find_cut(text, start + PIECE_CHARS)
        yield text[start:cut]
        start = cut
    yield text[start:]


def _find_cut(text: str, end: int) -> int:
    """The last good place to cut in the characters before `end`, or `end`."""
    for pattern in (_BLANK, _SET_APART):
        places = [match.start() for match in pattern.finditer(text, end - _CUT_SEARCH_CHARS, end)]
        if places:
            return places[-1]
    return end
