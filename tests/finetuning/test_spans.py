"""Spans by both rules, worked by hand where they differ."""

import pytest

from electra_cli.finetuning.spans import spans_of

# Tags, then their spans by the rules seqeval and strict. "0-2X": words 0 and 1, type X.
CASES = [
    ("B-X I-X O B-Y", "0-2X 3-4Y", "0-2X 3-4Y"),
    ("B-X B-X", "0-1X 1-2X", "0-1X 1-2X"),
    ("", "", ""),
    # I after O starts a span (IOB1), but not in the strict rule.
    ("O I-X I-X", "1-3X", ""),
    # The type changes inside.
    ("B-X I-Y", "0-1X 1-2Y", "0-1X"),
    ("I-X I-Y", "0-1X 1-2Y", ""),
    # BIOES; E ends a span.
    ("B-X E-X S-Y", "0-2X 2-3Y", "0-2X 2-3Y"),
    ("B-X E-X I-X O S-Y", "0-2X 2-3X 4-5Y", "0-2X 4-5Y"),
    ("B-X E-X E-X", "0-2X 2-3X", "0-2X"),
    ("S-X I-X", "0-1X 1-2X", "0-1X"),
    ("B-X I-X O S-X", "0-2X 3-4X", "3-4X"),
    # A type may have a hyphen.
    ("B-ORG-X I-ORG-X", "0-2ORG-X", "0-2ORG-X"),
]


def read(spans: str):
    found = set()
    for span in spans.split():
        start, rest = span.split("-", 1)
        end = rest[0]
        found.add((int(start), int(end), rest[1:]))
    return found


@pytest.mark.parametrize("tags, seqeval, strict", CASES)
def test_spans_by_each_rule(tags, seqeval, strict):
    assert spans_of(tags.split(), "seqeval") == read(seqeval)
    assert spans_of(tags.split(), "strict") == read(strict)
