import ast
import itertools
import sysconfig
from pathlib import Path

import pytest

from electra_cli.errors import DataError
from electra_cli.preparing import builtin
from electra_cli.preparing.prose import paragraphs, reads_like_prose
from electra_cli.preparing.sources import SourceOptions, open_source

MODULE = '''\
"""The module's first paragraph says what this is
all about, and goes on in a second line.

    >>> code = "of a doctest"
    'is not the prose that we want to have here'
"""
from pathlib import Path
Path(__file__).with_name("imported").write_text("This must never happen.")
raise RuntimeError("imported")

# A comment of several lines is prose as well, because people
# explain in comments why they did what they did, and not in
# some other way.
x = 1  # A short remark at the end of a line is not worth a paragraph.


class Thing:
    r"""A thing that has the \\w of a raw string, which is left out.

    But this paragraph is short enough to be kept as it is.
    """

    def call(self, name, *, flag=False):
        """Call the thing by its name, whatever that may be.

        Parameters
        ----------
        name : str, optional
            The name by which the thing is called in the end.
        flag : bool, default False
            Whether the thing should be called at all.

        Returns
        -------
        int
            How often it was called since the very beginning.
        """

add_docstr(Thing.other, """
other(x) -> int

A text that is attached to a function, as it is done for C.
""")
f"""A template with {x} in it is not a text, since it has holes."""
'''
TOPICS = """topics = {'assert': 'The "assert" statement\\n'
           '**********************\\n'
           '\\n'
           'Assert statements are a convenient way to insert debugging '
           'assertions\\n'
           'into a program.\\n'}
"""
METADATA = """Metadata-Version: 2.4
Name: zoo
Summary: A summary of the package that is not a part of the text.

# Zoo

A package that keeps *many* animals, see [the docs](https://example.org) for `more`.

```python
import zoo  # and this is an example of how one might use it
```
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small standard library and one folder of packages; returns the latter."""
    files = {
        "lib/pydoc_data/topics.py": TOPICS,
        "lib/broken.py": '"""It is Python 2, but the text of this file is still read.""" print x',
        "lib/site-packages/hidden.py": '"""Packages are not a part of the standard library."""',
        "lib/test/test_x.py": '"""The texts of a test are not what anyone wants to read."""',
        "site-packages/zoo/module.py": MODULE,
        "site-packages/zoo/again.py": MODULE.replace("Thing", "Other2"),
        "site-packages/zoo/latin.py": b'"""The last caf\xe9 of the town is not UTF-8 at all."""',
        "site-packages/zoo-1.0.dist-info/METADATA": METADATA,
        "site-packages/ant/module.pyi": '"""Ants come before the zoo in the order of names."""',
        "site-packages/electra_cli/x.py": '"""The program itself is not a part of its corpus."""',
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    roots = (tmp_path / "lib", [tmp_path / "site-packages"])
    monkeypatch.setattr(builtin, "_roots", lambda: roots)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "site-packages"


EXPECTED = [
    "Assert statements are a convenient way to insert debugging assertions into a program.",
    "It is Python 2, but the text of this file is still read.",
    "Ants come before the zoo in the order of names.",
    "The module's first paragraph says what this is all about, and goes on in a second line.\n"
    "A comment of several lines is prose as well, because people explain in comments why they did "
    "what they did, and not in some other way.\n"
    "But this paragraph is short enough to be kept as it is.\n"
    "Call the thing by its name, whatever that may be.\n"
    "The name by which the thing is called in the end.\n"
    "Whether the thing should be called at all.\n"
    "How often it was called since the very beginning.\n"
    "A text that is attached to a function, as it is done for C.",
    "A package that keeps many animals, see the docs for more.",
]


def test_the_prose_of_installed_packages_is_found_in_order_and_once(installed):
    # again.py comes first by name and has it all; module.py repeats it, so it adds no document.
    assert list(builtin.builtin_documents()) == EXPECTED


def test_nothing_is_imported(installed):
    list(builtin.builtin_documents())
    assert not list(installed.rglob("imported"))
    assert not list(installed.rglob("__pycache__"))


def test_the_corpus_is_cached(installed, tmp_path):
    assert builtin.builtin_bytes() is None
    first = list(builtin.builtin_documents())
    (cached,) = (tmp_path / "cache/electra").iterdir()
    assert builtin.builtin_bytes() == cached.stat().st_size
    for path in installed.rglob("*.py"):
        path.unlink()
    assert list(builtin.builtin_documents()) == first


def test_a_pass_that_is_broken_off_leaves_no_cache(installed, tmp_path):
    documents = builtin.builtin_documents()
    assert list(itertools.islice(documents, 2)) == EXPECTED[:2]
    documents.close()
    assert not list((tmp_path / "cache/electra").iterdir())
    assert builtin.builtin_bytes() is None


@pytest.mark.filterwarnings("error")
def test_unknown_escapes_of_others_are_no_warning():
    source = 'x = """An escape that Python does not know: \\d, and no harm is done."""'
    assert list(builtin.texts_of_source(source))


def test_a_new_package_gives_a_new_fingerprint(installed):
    before = builtin.builtin_fingerprint()
    assert builtin.builtin_fingerprint() == before
    metadata = installed / "ant-2.0.dist-info/METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.4\nName: ant\nVersion: 2.0\n")
    assert builtin.builtin_fingerprint() != before


def test_a_cache_that_cannot_be_written_is_the_users_to_mend(installed, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(DataError, match="cannot be written") as caught:
        list(builtin.builtin_documents())
    assert "XDG_CACHE_HOME" in caught.value.hint


def test_the_corpus_is_the_default_source(installed):
    source = open_source(SourceOptions(()))
    assert source.name == "python-docs"
    expected = [text.encode() for text in EXPECTED]
    assert list(source.documents()) == list(source.documents()) == expected
    assert source.counts.documents == len(EXPECTED)
    assert source.counts.bytes_read == sum(map(len, expected))
    assert source.counts.text_bytes == source.counts.bytes_read
    before = source.fingerprint()
    assert open_source(SourceOptions((), max_bytes=9)).fingerprint() != before
    assert list(open_source(SourceOptions((), max_bytes=9)).documents()) == [b"Assert"]


def test_the_fast_search_for_strings_agrees_with_the_parser():
    library = Path(sysconfig.get_path("stdlib"))
    checked = 0
    for path in [*library.glob("[a-c]*.py"), *(library / "asyncio").glob("*.py")]:
        source = path.read_text("utf-8")
        found = set(builtin.texts_of_source(source))
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                docstring = ast.get_docstring(node)
                # One of a single line may have been written with simple quotes.
                if docstring and "\n" in docstring:
                    assert docstring in found, (path, docstring)
                    checked += 1
    assert checked > 400


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
