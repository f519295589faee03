"""Rows of labelled files: CSV, TSV, JSON, JSON lines, CoNLL columns, Parquet, Arrow, datasets.

A row keeps every column as the file has it. What the columns mean is columns.py's work.
"""

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, starmap
from pathlib import Path
from typing import Any

from electra_cli.disk import expand_home
from electra_cli.errors import DataError
from electra_cli.finetuning.json_examples import read_json, read_json_lines
from electra_cli.preparing.columns import BOM, refuse_repeated
from electra_cli.preparing.csv_rows import DELIMITERS, OTHER_DELIMITERS, kind_of, read_csv_rows
from electra_cli.preparing.paths import COMPRESSIONS, closest_path
from electra_cli.preparing.raw_text import (
    DEFAULT_LIMITS,
    InputChecker,
    check_lines_of,
    open_text,
    read_lines,
    unreadable,
)

_TABLES = (".parquet", ".arrow")
_COLUMNS_OF_WORDS = (".conll", ".conllu", ".bio", ".iob", ".txt")
USABLE = (
    ".csv .tsv .json .jsonl .conll .txt (CoNLL columns) .parquet .arrow, text also "
    + " ".join(COMPRESSIONS)
)
MAX_RECORD_BYTES = DEFAULT_LIMITS.max_record_bytes
Stream = io.BufferedReader


@dataclass(frozen=True)
class Row:
    """The columns of one example, and where they stand."""

    values: Mapping[str, Any]
    where: str  # "FILE, line 3"


@dataclass(frozen=True)
class Table:
    """All rows of one file, which have the same columns but for JSON, where a key may lack."""

    name: str
    rows: list[Row]

    @property
    def columns(self) -> list[str]:
        """Every column of any row, in order of appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row.values))


def read_table(
    source: str, subset: str | None = None, split: str = "train", plain_text: bool = False
) -> Table:
    """The rows of a file, or of a split of a dataset id. Raises DataError that names the line.

    `plain_text`: a .txt file holds a text per line, not CoNLL's columns.
    """
    path = expand_home(source)
    kind, compression = _ending_of(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder", hint="name one file of labelled examples")
    if not path.is_file():
        if kind not in _KNOWN and source.count("/") <= 1 and not source.startswith((".", "/", "~")):
            from electra_cli.preparing.hub import hub_rows

            rows = enumerate(hub_rows(source, subset, split), start=1)
            return _checked(source, (Row(values, f"{source}, row {at}") for at, values in rows))
        close = closest_path(path)
        raise DataError(
            f"no such file: {path}",
            hint=f"did you mean {close}?" if close else "name a file of labelled examples",
        )
    if kind not in _KNOWN:
        raise DataError(f"{path} has an unknown ending", hint=f"usable are {USABLE}")
    if kind in _TABLES:
        return _checked(str(path), _read_columns(path, kind))
    with open_text(path, compression) as (stream, _):
        checker = check_lines_of(path, compression, replace_broken=None)
        read = _read_texts if plain_text and kind == ".txt" else _READERS[kind]
        return _checked(str(path), read(path, stream, checker))


def _ending_of(path: Path) -> tuple[str, str]:
    kind = path.suffix.lower()
    if kind in COMPRESSIONS:
        return Path(path.stem).suffix.lower(), kind
    return kind, ""


def _checked(name: str, rows: Iterable[Row]) -> Table:
    table = Table(name, list(rows))
    if not table.rows:
        raise DataError(f"{name} holds no example", hint="name a file with a row per example")
    return table


def _read_delimited(path: Path, stream: Stream, checker: InputChecker) -> Iterator[Row]:
    """A header, then a row per example."""
    rows = read_csv_rows(
        stream, path, checker, MAX_RECORD_BYTES, lambda first: _delimiter(first, path)
    )
    _, header = next(rows, (0, []))
    names = [name.strip().removeprefix(BOM).strip() for name in header]
    refuse_repeated(f"{path}, line 1", names)
    for at, cells in rows:
        yield Row(dict(zip(names, cells, strict=False)), f"{path}, line {at}")


def _delimiter(header: str, path: Path) -> str:
    """The ending says it, unless another mark alone is in the header: `text;label`."""
    usual = DELIMITERS[kind_of(path)]
    others = [mark for mark in OTHER_DELIMITERS if mark in header]
    return others[0] if usual not in header and len(others) == 1 else usual


def _read_json_lines(path: Path, stream: Stream, checker: InputChecker) -> Iterator[Row]:
    return starmap(Row, read_json_lines(path, _lines(path, stream, checker), checker))


def _read_json(path: Path, stream: Stream, checker: InputChecker) -> Iterator[Row]:
    return starmap(Row, read_json(path, _lines(path, stream, checker), checker))


def _read_texts(path: Path, stream: Stream, checker: InputChecker) -> Iterator[Row]:
    for at, line in _lines(path, stream, checker):
        if line.strip():
            yield Row({"text": line.strip()}, f"{path}, line {at}")


def _read_words(path: Path, stream: Stream, checker: InputChecker) -> Iterator[Row]:
    """CoNLL: a word per line, its tag in the last column, an empty line after a sentence.

    Of CoNLL-U (universaldependencies.org/format.html) FORM and UPOS, without joined forms as 1-2.
    """
    is_universal = ".conllu" in path.suffixes
    tokens: list[str] = []
    tags: list[str] = []
    begun = 1
    for at, line in chain(_lines(path, stream, checker), [(0, "")]):
        columns = line.split("\t") if "\t" in line else line.split()
        columns = [column.strip() for column in columns]
        if is_universal:
            if line.startswith("#") or (any(columns) and not columns[0].isdecimal()):
                continue
            columns = columns[1:4]
        if not any(columns) or columns[0] == "-DOCSTART-":
            if tokens:
                yield Row({"tokens": tokens, "tags": tags}, f"{path}, line {begun}")
            tokens, tags = [], []
            continue
        if len(columns) < 2 or not columns[0] or not columns[-1]:
            raise DataError(
                f"{path}, line {at}: a word without a tag",
                hint="a line has a word first and its tag last; an empty line ends a sentence",
            )
        if not tokens:
            begun = at
        tokens.append(columns[0])
        tags.append(columns[-1])


def _lines(path: Path, stream: Stream, checker: InputChecker) -> Iterator[tuple[int, str]]:
    """(number, text) of each line, whose UTF-8 is checked."""
    for at, raw in read_lines(stream, path, MAX_RECORD_BYTES):
        line = checker.check(raw, at).decode()
        yield at, line.removeprefix(BOM) if at == 1 else line


def _read_columns(path: Path, kind: str) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if kind == ".parquet":
            table = pq.read_table(path)
        else:
            with pa.memory_map(str(path)) as mapped:
                is_indexed = mapped.read(6) == b"ARROW1"
                mapped.seek(0)
                open_reader = pa.ipc.open_file if is_indexed else pa.ipc.open_stream
                table = open_reader(mapped).read_all()
        table.validate(full=True)
        rows = table.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from None
    for at, values in enumerate(rows, start=1):
        yield Row(values, f"{path}, row {at}")


_READERS = {
    **dict.fromkeys(DELIMITERS, _read_delimited),
    **dict.fromkeys(_COLUMNS_OF_WORDS, _read_words),
    ".jsonl": _read_json_lines,
    ".json": _read_json,
}
_KNOWN = (*_READERS, *_TABLES)
