"""Paragraphs of prose are told from code, tables and headings, and lose their markup."""

import pytest

from electra_cli.preparing.prose import paragraphs, reads_like_prose


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A line that was wrapped\nby its author is one line\nof the corpus.", 1),
        ("First there is a paragraph of words.\n\nThen there is another one of them.", 2),
        ("This is how it is used::\n\n    this is code, and not a part of the text\n", 1),
        (".. code-block:: python\n\n    this is code, and not a part of the text\n", 0),
        (".. note:: This is a part of the text,\n   since it is an English sentence.", 1),
        (".. versionadded:: 1.5\n   This was not there before that version.", 1),
        (".. math::\n    the sum of all a in the set of all b", 0),
        ("```\nthis is code, and not a part of the text\n```\nBut this is a part of the text.", 1),
        (">>> the_result_of(a, call)\nis printed here, and not a part of it", 0),
        ("====  ======\nthe   head of\nit is a table\n====  ======", 0),
        ("| a | b of the table that is here |", 0),
        ("The title of this section is long\n=================================", 0),
        (
            "- the first item of the list is here.\n- the second item of\n  the list that is here.",
            2,
        ),
        ("name : array_like of the shape of the input", 0),
        ("name (int, optional): The number of the things that there are.", 1),
        ("    :param name: The number of the things that there are.\n    :type name: int", 1),
        ("function(a, b=None, *args, **kwargs) -> the result of it all", 0),
        ("if x == y: return the_value_of(x) for x in the_list", 0),
        ("Copyright 2020 by the authors of this and all of the others.", 0),
        ("NumPy, SciPy, Pandas, Matplotlib, Plotly, Torch", 0),
        ("Too short to be used.", 0),
    ],
)
def test_prose_is_told_from_the_rest(text, expected):
    found = list(paragraphs(text))
    assert len(found) == expected
    assert "\n" not in "".join(found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A :class:`~torch.nn.Module` or a :func:`print` of it.", "A Module or a print of it."),
        ("See :ref:`the guide <guide-target>` for all of it.", "See the guide for all of it."),
        (
            "The ``name`` of *one* is **not** the `other` one.",
            "The name of one is not the other one.",
        ),
        ("See `the page <https://x.org>`_ for more of it [1]_.", "See the page for more of it."),
        (
            "Pass ``*args`` on to the function as they are.",
            "Pass *args on to the function as they are.",
        ),
        ("<Tip>It is a tip that one should know of.</Tip>", "It is a tip that one should know of."),
        (
            "Note: \\*args are what you have to pass on.",
            "Note: *args are what you have to pass on.",
        ),
    ],
)
def test_markup_is_removed(text, expected):
    assert list(paragraphs(text)) == [expected]


def test_text_that_utf8_cannot_hold_is_no_prose():
    assert reads_like_prose("This is what we would like to read here.")
    assert not reads_like_prose("This is what we would like \ud800 to read here.")
    assert not reads_like_prose("This is what we would like \ufffd to read here.")
