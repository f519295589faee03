import ast
import itertools
import sysconfig
from pathlib import Path

import pytest

from electra_cli.errors import DataError
from electra_cli.preparing import builtin
from electra_cli.preparing.source import SourceOptions
from electra_cli.preparing.sources import open_source

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
