"""The built-in corpus: the English prose of the Python documentation installed on this machine.

The language reference of `help()`, then the docstrings, longer comments and README files of the
standard library and of every installed package. One file of one package is one document. Sources
are read as text and never imported, so no code of another package runs. To find the prose in them
is prose.py's work.
"""

import ast
import hashlib
import inspect
import os
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from electra_cli.disk import cache_folder
from electra_cli.errors import DataError
from electra_cli.preparing.prose import paragraphs

VERSION = 1  # of the extraction: raise it when the same packages would give other text

SOURCE_ENDINGS = (".py", ".pyi", ".pyx", ".pxi", ".pxd")
README_ENDINGS = (".md", ".rst")
SKIPPED_FOLDERS = frozenset(
    # Tests hold little prose and much text that looks like prose; licenses repeat each other.
    ["test", "tests", "_tests", "licenses", "__pycache__", "site-packages", "dist-packages"]
)
OWN_NAMES = ("electra_cli", "electra-cli")  # the corpus must not change with this program
MIN_TEXT_LENGTH = 40  # a shorter string holds no paragraph
MIN_COMMENT_LINES = 3
MIN_SHAPE_WORDS = 5

# In Python only strings and comments can contain each other's marks, and they form a regular
# language, so one expression finds them exactly. It is some thirty times as fast as ast.parse,
# reads stubs and Cython too, and finds not only docstrings but also texts like those that torch
# and numpy attach with add_docstr(name, "...").
_STRING_OR_COMMENT = re.compile(
    r"""(?P<comment>\#[^\n]*(?:\n[ \t]*\#[^\n]*)*)"""
    r'''|(?P<text>"""(?:[^"\\]+|\\.|"(?!""))*"""'''
    r"""|\'\'\'(?:[^'\\]+|\\.|'(?!''))*\'\'\')"""
    r"""|"[^"\\\n]*(?:\\.[^"\\\n]*)*"?"""
    r"""|'[^'\\\n]*(?:\\.[^'\\\n]*)*'?""",
    re.DOTALL,
)
_PREFIX = re.compile(r"(?<!\w)[rbuft]{1,2}$", re.IGNORECASE)


def builtin_documents() -> Iterator[str]:
    """The documents of the corpus, one paragraph per line, always in the same order.

    The first full pass takes half a minute and writes them to a cache, which later passes read.
    An interrupted pass leaves no cache. Raises DataError if the cache cannot be written.
    """
    cached = _cache_file()
    if cached.exists():
        yield from _read_cache(cached)
        return
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        yield from _write_cache(extract(*_roots()), cached)
    except OSError as error:
        raise DataError(
            f"the cache of the built-in corpus cannot be written: {error}",
            hint="set XDG_CACHE_HOME to a folder with 30 MB to spare, or name files of your own",
        ) from None


def builtin_fingerprint() -> str:
    """SHA-256 of the versions of Python, of the installed packages and of the extraction."""
    installed = sorted(
        f"{distribution.name} {distribution.version}"
        for distribution in metadata.distributions(path=[str(root) for root in _roots()[1]])
        if distribution.name not in OWN_NAMES
    )
    key = "\n".join([str(VERSION), sys.version, *installed])
    return hashlib.sha256(key.encode()).hexdigest()


def builtin_bytes() -> int | None:
    """Size of the corpus; None before it was made."""
    cached = _cache_file()
    return cached.stat().st_size if cached.exists() else None


def extract(standard_library: Path, site_packages: Sequence[Path]) -> Iterator[str]:
    """The documents below these folders, without paragraphs that came before."""
    seen_texts: set[bytes] = set()
    seen_shapes: set[bytes] = set()
    for texts in _texts_by_file(standard_library, site_packages):
        document: list[str] = []
        for text in texts:
            # A sixth of all text is repeated docstrings; finding them first saves their cleaning.
            if _add_if_new(text, seen_texts):
                for paragraph in paragraphs(text):
                    if _add_if_new(_shape(paragraph), seen_shapes):
                        document.append(paragraph)
        if document:
            yield "\n".join(document)


def texts_of_source(source: str) -> Iterator[str]:
    """The triple-quoted strings and the longer comments of Python source, in order."""
    for match in _STRING_OR_COMMENT.finditer(source):
        if len(match[0]) < MIN_TEXT_LENGTH:
            continue
        if match.lastgroup == "text":
            prefix = _PREFIX.search(source, max(0, match.start() - 3), match.start())
            text = _evaluate(prefix[0].lower() if prefix else "", match[0])
            if text is not None:
                yield inspect.cleandoc(text)
        elif match.lastgroup == "comment":
            lines = [line.strip().lstrip("#") for line in match[0].splitlines()]
            if len(lines) >= MIN_COMMENT_LINES:
                yield inspect.cleandoc("\n" + "\n".join(lines))


def _evaluate(prefix: str, literal: str) -> str | None:
    """The value of a triple-quoted string; None for templates and bytes, which hold no prose."""
    if set(prefix) - set("ru"):
        return None
    if "r" in prefix or "\\" not in literal:
        return literal[3:-3]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about other people's unknown escapes
            value = ast.literal_eval(literal)
    except (SyntaxError, ValueError):  # an escape of another language, in a Cython or old file
        return None
    return str(value)


def _add_if_new(text: str, seen: set[bytes]) -> bool:
    """Whether a text comes for the first time; adds it to `seen`."""
    digest = hashlib.blake2b(text.encode(errors="replace"), digest_size=16).digest()
    size = len(seen)
    seen.add(digest)
    return len(seen) > size


def _shape(paragraph: str) -> str:
    """The text without names and numbers: the same for near-duplicates."""
    words = [word for word in re.findall(r"[\w.]+", paragraph) if word.islower() and word.isalpha()]
    return " ".join(words) if len(words) >= MIN_SHAPE_WORDS else paragraph.lower()


def _texts_by_file(
    standard_library: Path, site_packages: Sequence[Path]
) -> Iterator[Iterator[str]]:
    for topic in _language_topics(_content(standard_library / "pydoc_data" / "topics.py")):
        yield iter([topic])
    for root in (standard_library, *site_packages):
        for path in _files(root):
            content = _content(path)
            if path.name == "METADATA":
                yield iter([content.partition("\n\n")[2]])
            elif path.suffix in README_ENDINGS:
                yield iter([content])
            else:
                yield texts_of_source(content)


def _content(path: Path) -> str:
    """The text of a file; empty where it cannot be read, since no file is indispensable."""
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""


def _language_topics(source: str) -> Iterator[str]:
    """The chapters of the language reference: the values of the one dict in topics.py."""
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict):
            yield from ast.literal_eval(statement.value).values()


def _files(root: Path) -> Iterator[Path]:
    """The files below a folder that may hold prose, in an order that depends only on names."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(
            name for name in folders if name not in SKIPPED_FOLDERS and name not in OWN_NAMES
        )
        for name in sorted(names):
            is_readme = name == "METADATA" and folder.endswith(".dist-info")
            if is_readme or name.endswith(SOURCE_ENDINGS + README_ENDINGS):
                yield Path(folder, name)


def _roots() -> tuple[Path, list[Path]]:
    """The standard library, and the folders of installed packages that are in use."""
    in_use = dict.fromkeys(
        Path(entry) for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")
    )
    return Path(sysconfig.get_path("stdlib")), [path for path in in_use if path.is_dir()]


def _cache_file() -> Path:
    return cache_folder() / f"python-docs-{builtin_fingerprint()[:16]}.txt"


def _write_cache(documents: Iterator[str], path: Path) -> Iterator[str]:
    """Yield the documents and write them to a file, which appears when it is complete.

    disk.replace_file cannot serve: its caller gets control back only when all is written, here
    after half a minute without a document. The name has the process id, since two processes may
    make the cache at once.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as out:
            for document in documents:
                out.write(document + "\n\n")
                yield document
            out.flush()
            os.fsync(out.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _read_cache(path: Path) -> Iterator[str]:
    document: list[str] = []
    with path.open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            if line != "\n":
                document.append(line)
            else:
                yield "".join(document).rstrip("\n")
                document = []
