"""Rows of labelled files: CSV, TSV, JSON, JSON lines, CoNLL columns, Parquet, Arrow, datasets.

A row keeps every column as the file has it. What the columns mean is columns.py's work.
"""

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from electra_cli.disk import expand_home
from electra_cli.errors import DataError
from electra_cli.preparing.columns import BOM, ambiguous
from electra_cli.preparing.csv_rows import DELIMITERS, OTHER_DELIMITERS, kind_of, read_csv_rows
from electra_cli.preparing.json_rows import HINT, invalid_json, not_an_object
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
    _check_names(f"{path}, line 1", names, "columns")
    for at, cells in rows:
        yield Row(dict(zip(names, cells, strict=False)), f"{path}, line {at}")


def _delimiter(header: str, path: Path) -> str:
    """The ending says it, unless another mark alone is in the header: `text;label`."""
    usual = DELIMITERS[kind_of(path)]
    others = [mark for mark in OTHER_DELIMITERS if mark in header]
    return others[0] if usual not in header and len(others) == 1 else usual


def _check_names(where: str, names: Sequence[str], kind: str) -> None:
    """Raise DataError where two columns or keys have one name."""
    for name in names:
        if names.count(name) > 1:
            raise ambiguous(where, name, [name] * names.count(name), kind)


def _read_json_lines(path: Path, stream: Stream, checker: InputChecker) -> Iterator[Row]:
    """One object per line; MRQA's first line is a header, and its others hold several questions."""
    for at, line in _lines(path, stream, checker):
        where = f"{path}, line {at}"
        if not line.strip():
            continue
        values = _as_object(_parse(line, where, HINT, checker, at), where)
        if at == 1 and "header" in values:
            continue
        if "qas" in values:
            yield from _read_mrqa(values, where)
        else:
            yield Row(values, where)


def _read_mrqa(values: dict[str, Any], where: str) -> Iterator[Row]:
    try:
        for question in values["qas"]:
            found = [
                (answer["text"], span[0])
                for answer in question["detected_answers"]
                for span in answer["char_spans"]
            ]
            yield Row(
                {
                    "id": question["qid"],
                    "question": question["question"],
                    "context": values["context"],
                    "answers": {
                        "text": [text for text, _ in found],
                        "answer_start": [start for _, start in found],
                    },
                },
                f"{where}, question {question['qid']}",
            )
    except (KeyError, TypeError, IndexError) as error:
        raise DataError(
            f"{where}: not in MRQA's form: {type(error).__name__} {error}",
            hint="context, qas / qid, question, detected_answers / text, char_spans",
        ) from None


def _read_json(path: Path, stream: Stream, checker: InputChecker) -> Iterator[Row]:
    """SQuAD's {"data": articles} -> a row per question, or a list of objects."""
    text = "".join(line for _, line in _lines(path, stream, checker))
    content = _parse(text, str(path), "correct the file", checker, 1)
    if isinstance(content, dict) and isinstance(content.get("data"), list):
        yield from _read_squad(path, content["data"])
        return
    if not isinstance(content, list):
        raise DataError(
            f"{path} holds neither a list of objects nor SQuAD's data",
            hint='a list is written [{"text": ..., "label": ...}, ...]; SQuAD has a key "data"',
        )
    for at, value in enumerate(content, start=1):
        where = f"{path}, object {at}"
        yield Row(_as_object(value, where), where)


def _read_squad(path: Path, articles: list[Any]) -> Iterator[Row]:
    for at, article in enumerate(articles, start=1):
        where = f"{path}, article {at}"
        try:
            if "paragraphs" not in article:  # datasets' flat rows under "data"
                yield Row(_as_object(article, where), where)
                continue
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    values = {**question, "context": paragraph["context"]}
                    yield Row(values, f"{path}, question {question['id']}")
        except (KeyError, TypeError) as error:
            raise DataError(
                f"{where}: not in SQuAD's form: {type(error).__name__} {error}",
                hint="data / paragraphs / context and qas / id, question, answers",
            ) from None


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


def _parse(text: str, where: str, hint: str, checker: InputChecker, line: int) -> Any:
    """The value that a text spells. Raises DataError, also for a key that stands there twice."""

    def repaired(value: Any) -> Any:
        """A text, or those of a list, checked: half a character can be spelled as an escape."""
        if isinstance(value, list):
            return [repaired(each) for each in value]
        return checker.repair(value, line) if isinstance(value, str) else value

    def as_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _check_names(where, [name for name, _ in pairs], "keys")
        return {name: repaired(value) for name, value in pairs}

    try:
        return json.loads(text, object_pairs_hook=as_dict)
    except RecursionError:
        raise DataError(f"{where}: lists in too many other lists", hint=hint) from None
    except ValueError as error:
        raise invalid_json(where, error, text, hint) from None


def _as_object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise not_an_object(where, value)
    return value


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
