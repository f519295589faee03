"""Which files the arguments of `electra prepare` mean, by their names alone.

Opens nothing: what is inside a file is formats.py's work.
"""

import difflib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from electra_cli.disk import check_utf8, expand_home
from electra_cli.errors import DataError

PLAIN_ENDINGS = (".txt", ".md")
TEXT_ENDINGS = (*PLAIN_ENDINGS, ".jsonl", ".csv", ".tsv")
TABLE_ENDINGS = (".parquet", ".arrow")
COLUMN_ENDINGS = (*TEXT_ENDINGS[len(PLAIN_ENDINGS) :], *TABLE_ENDINGS)
COMPRESSIONS = (".gz", ".xz", ".zst")
USABLE = f"{' '.join(TEXT_ENDINGS + TABLE_ENDINGS)}, text also {' '.join(COMPRESSIONS)}"

_GLOB_SIGN = re.compile(r"[*?\[]")


def ending_of(path: Path) -> tuple[str, str] | None:
    """(kind, compression), such as (".txt", ".xz") or (".arrow", ""); None if it is not usable."""
    kind = path.suffix.lower()
    if kind in TEXT_ENDINGS + TABLE_ENDINGS:
        return kind, ""
    if kind in COMPRESSIONS:
        inner = Path(path.stem).suffix.lower()
        return (inner, kind) if inner in TEXT_ENDINGS else None
    return None


def stem_of(path: Path) -> str:
    """The name of a file or folder without its endings: corpus/wiki.txt.xz gives wiki."""
    ending = ending_of(path)
    return path.name[: -len("".join(ending))] if ending else path.resolve().name


def looks_like_path(source: str) -> bool:
    """Whether an argument is meant as a file, a folder or a glob, not as a dataset id."""
    path = expand_home(source)
    return (
        path.exists()
        or source == "-"
        or ending_of(path) is not None
        or _GLOB_SIGN.search(source) is not None
        or source.startswith((".", "/", "~"))
        or source.count("/") > 1
        or ("/" in source and path.parent.is_dir())
        or ("/" not in source and re.fullmatch(r"\.[A-Za-z]\w{0,4}", path.suffix) is not None)
    )


def name_of(sources: Sequence[str], files: Sequence[Path]) -> str:
    """What to call the text of these sources.

    One file or folder gives its own name, several files of one folder the folder's name, others
    the first file's name and the number of other files.
    """
    first = expand_home(sources[0])
    if len(sources) == 1 and first.exists():
        return stem_of(first)
    folders = {path.resolve().parent for path in files}
    if len(files) > 1 and len(folders) == 1:
        return folders.pop().name
    others = f"-and-{len(files) - 1}-more" if len(files) > 1 else ""
    return f"{stem_of(files[0])}{others}"


# The files to read of a folder that another program has made, None of any other folder.
Chooser = Callable[[Path], Sequence[Path] | None]


def find_files(sources: Sequence[str], choose: Chooser) -> tuple[list[Path], list[Path]]:
    """(files of all sources in order, paths that were skipped in folders and globs).

    The files of a folder or glob are sorted, and no file is listed twice. Raises DataError for a
    source without a usable file, and a file whose name is not UTF-8, OSError for a folder that
    cannot be read.
    """
    once: dict[Path, Path] = {}
    skipped: dict[Path, None] = {}
    for source in sources:
        for path in _files_of(source, skipped, choose):
            check_utf8(str(path))
            once.setdefault(path.resolve(), path)
    return list(once.values()), list(skipped)


def _files_of(source: str, skipped: dict[Path, None], choose: Chooser) -> list[Path]:
    path = expand_home(source)
    if path.is_file():
        if ending_of(path) is None:
            raise DataError(
                f"{path} has an unknown ending",
                hint=f"usable are {USABLE}; rename text that has another ending",
            )
        return [path]
    if path.is_dir():
        matches = [path]
    elif path.exists() or source == "-":
        raise DataError(
            f"{path} is a pipe or a device, and what is read must be a file: it is read twice",
            hint="write it to a file first, such as text.txt",
        )
    elif path.is_symlink():
        raise DataError(
            f"{path} is a link that leads to no file: {path.readlink()}", hint="correct the link"
        )
    elif _GLOB_SIGN.search(source):
        anchor = Path(path.anchor)
        matches = sorted(anchor.glob(str(path.relative_to(anchor))))
    elif "://" in source:
        raise DataError(
            f"{source} is an address, not a file",
            hint="download it first; a Hugging Face dataset is named by its id, such as ORG/NAME",
        )
    else:
        raise _no_such_file(path)
    files = [file for match in matches for file in _usable_below(match, skipped, choose)]
    if not files:
        raise DataError(f"no usable file in {source}", hint=f"usable are {USABLE}, not empty")
    return files


def _usable_below(path: Path, skipped: dict[Path, None], choose: Chooser) -> Iterator[Path]:
    """The file itself, or all files below a folder.

    Empty files, links to folders and other types go into `skipped`. Hidden files and folders are
    ignored.
    """

    def fail(error: OSError) -> None:
        raise error

    if path.is_dir():
        for folder, folders, names in os.walk(path, onerror=fail):
            if (chosen := choose(Path(folder))) is not None:
                yield from chosen
                others = {file.resolve(): file for file in Path(folder).rglob("*.*")}
                for file in chosen:
                    others.pop(file.resolve(), None)
                skipped.update(dict.fromkeys(file for file in others.values() if file.is_file()))
                folders.clear()
                continue
            links = sorted(name for name in folders if Path(folder, name).is_symlink())
            skipped.update(dict.fromkeys(Path(folder, name) for name in links))
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                yield from _usable_below(Path(folder, name), skipped, choose)
    elif not path.name.startswith("."):
        if ending_of(path) and _has_content(path):
            yield path
        else:
            skipped[path] = None


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _no_such_file(path: Path) -> DataError:
    close = closest_path(path)
    if close:
        hint = f"did you mean {close}?"
    elif not path.parent.is_dir():
        hint = f"there is no folder {path.parent}"
    else:
        hint = "name files, folders or globs, or one Hugging Face dataset id"
    return DataError(f"no such file: {path}", hint=hint)


def closest_path(path: Path) -> Path | None:
    """The file or folder beside it whose name is most similar; None without a similar one."""
    if not path.parent.is_dir():
        return None
    names = sorted(entry.name for entry in path.parent.iterdir())
    close = difflib.get_close_matches(path.name, names, n=1)
    return path.parent / close[0] if close else None
