"""Cut texts into pieces that can be encoded one by one, and group them into calls."""

import re
from collections.abc import Iterable, Iterator
from typing import AnyStr

PIECE_CHARS = 100_000  # longer texts are cut, since the engine takes about 200 bytes per token
CHUNK_CHARS = 2_000_000  # texts encoded in one call: work for many threads, 100 to 400 MB
SEARCHED_CHARS = 1_000  # before the longest possible piece's end, for a good place to cut
_BLANK = re.compile(r"(?<=\S)[ \n]")
# Characters that BERT's steps make words of their own: ASCII punctuation, Chinese.
_SINGLE = re.compile(r"[!-/:-@\[-`{-~\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0002a6df]")


def group_texts(texts: Iterable[AnyStr], max_size: int) -> Iterator[list[AnyStr]]:
    """Lists of texts of about `max_size` characters or bytes each: the last text may exceed it."""
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


def cut_text(
    text: str, piece_chars: int = PIECE_CHARS, searched_chars: int = SEARCHED_CHARS
) -> Iterator[str]:
    """Pieces of at most `piece_chars` characters whose ids, joined, are those of the whole text.

    That holds for BERT's steps. Cuts before a blank in the last `searched_chars`; without one,
    before a character that BERT makes a word of its own. A longer word stays whole.
    """
    start = 0
    while len(text) - start > piece_chars:
        end = start + piece_chars
        cut = _find_cut(text, end - searched_chars, end)
        yield text[start:cut]
        start = cut
    if start < len(text) or not start:
        yield text[start:]


def _find_cut(text: str, start: int, end: int) -> int:
    """The last good place to cut in text[start:end], else the first one after it."""
    for pattern in (_BLANK, _SINGLE):
        places = [match.start() for match in pattern.finditer(text, start, end)]
        if places:
            return places[-1]
    later = (pattern.search(text, end) for pattern in (_BLANK, _SINGLE))
    return min((match.start() for match in later if match), default=len(text))
