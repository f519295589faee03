"""Spans of tags such as B-PER I-PER O, by two rules that differ where tags are malformed.

The rules, and where they differ:

- seqeval: a span ends at O, B, S, after E, and where the type changes; I or E after O starts one.
  The same as conlleval for IOB1 and IOB2. (The conlleval script forgets a span at E followed by B.)
- strict: only B I* of one type (where the tags have E and S: B I* E, or S) is a span. The rest is
  no span at all (seqeval, mode="strict").
"""

from collections.abc import Sequence
from typing import Literal, get_args

Span = tuple[int, int, str]  # first word, word after the last, type
Rule = Literal["seqeval", "strict"]
RULES: tuple[Rule, ...] = get_args(Rule)


def spans_of(tags: Sequence[str], rule: Rule = "seqeval") -> set[Span]:
    """The spans of one sentence. A tag without a prefix, other than O, is an I- of its name."""
    split = [_split(tag) for tag in tags]
    if rule == "strict":
        return _strict(split)
    spans: set[Span] = set()
    start: int | None = None
    for at, (prefix, kind) in enumerate([*split, ("O", "")]):
        before, kind_before = split[at - 1] if at else ("O", "")
        ends = prefix in ("O", "B", "S") or before in ("E", "S") or kind != kind_before
        if start is not None and ends:
            spans.add((start, at, kind_before))
            start = None
        if start is None and prefix != "O":
            start = at
    return spans


def _split(tag: str) -> tuple[str, str]:
    """B-PER -> B, PER. The type may have hyphens of its own."""
    prefix, hyphen, kind = tag.partition("-")
    if tag == "O" or (hyphen and prefix in ("B", "I", "E", "S")):
        return prefix, kind
    return "I", tag


def _strict(split: Sequence[tuple[str, str]]) -> set[Span]:
    has_ends = any(prefix in ("E", "S") for prefix, _ in split)
    spans: set[Span] = set()
    for start, (prefix, kind) in enumerate(split):
        if prefix == "S":
            spans.add((start, start + 1, kind))
        if prefix != "B":
            continue
        end = start + 1
        while end < len(split) and split[end] == ("I", kind):
            end += 1
        if has_ends and (end == len(split) or split[end] != ("E", kind)):
            continue
        spans.add((start, end + has_ends, kind))
    return spans
