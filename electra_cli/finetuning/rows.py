"""Rows of labelled files: CSV, TSV, JSON, JSON lines, CoNLL columns, Parquet, Arrow, datasets.

A row keeps every column as the file has it. What the columns mean is columns.py's work.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electra_cli.errors import DataError
from electra_cli.preparing.paths import COMPRESSIONS, closest_path
from electra_cli.preparing.raw_text import (
    DEFAULT_LIMITS,
    check_lines_of,
    open_text,
    read_lines,
    unreadable,
)

_DELIMITED = (".csv", ".tsv")
_TABLES = (".parquet", ".arrow")
_COLUMNS_OF_WORDS = (".conll", ".conllu", ".bio", ".iob", ".txt")
USABLE = (
    ".csv .tsv .json .jsonl .conll .txt (CoNLL columns) .parquet .arrow, text also "
    + " ".join(COMPRESSIONS)
)
_BOM = "\ufeff"


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
    path = Path(source).expanduser()
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
        numbered = read_lines(stream, path, DEFAULT_LIMITS.max_record_bytes)
        lines = ((at, checker.check(line, at).decode()) for at, line in numbered)
        clean = ((at, line.removeprefix(_BOM) if at == 1 else line) for at, line in lines)
        read = _read_lines if plain_text and kind == ".txt" else _READERS[kind]
        return _checked(str(path), read(path, clean))


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


def _read_delimited(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[Row]:
    """A header, then a row per example. Tabs separate plain fields: quotes are text there."""
    kind, _ = _ending_of(path)
    csv.field_size_limit(DEFAULT_LIMITS.max_record_bytes)
    texts = (line for _, line in lines)
    if kind == ".csv":
        rows = csv.reader(texts, strict=True)
    else:
        rows = csv.reader(texts, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True)
    try:
        header = next(rows, [])
        for name in header:
            if header.count(name) > 1:
                raise DataError(f"{path} has two columns {name!r}", hint="rename one in line 1")
        for cells in rows:
            if not cells:
                continue
            where = f"{path}, line {rows.line_num}"
            if len(cells) != len(header):
                raise DataError(
                    f"{where}: {len(cells)} fields, the header has {len(header)}",
                    hint="every row needs as many fields as the header"
                    + ("; a text with commas stands in quotes" if kind == ".csv" else ""),
                )
            yield Row(dict(zip(header, cells, strict=True)), where)
    except csv.Error as error:
        raise DataError(
            f"{path}, line {rows.line_num}: invalid CSV ({error})",
            hint='commas separate fields; one that contains quotes is written "so ""quoted"""',
        ) from None


def _read_json_lines(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[Row]:
    """One object per line; MRQA's first line is a header, and its others hold several questions."""
    for at, line in lines:
        where = f"{path}, line {at}"
        if not line.strip():
            continue
        value = _parse(line, where, "a .jsonl file has one object per line")
        if at == 1 and isinstance(value, dict) and "header" in value:
            continue
        values = _as_object(value, where)
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


def _read_json(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[Row]:
    """SQuAD's {"data": articles} -> a row per question, or a list of objects."""
    content = _parse("".join(line for _, line in lines), str(path), "correct the file")
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


def _read_lines(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[Row]:
    for at, line in lines:
        if line.strip():
            yield Row({"text": line.strip()}, f"{path}, line {at}")


def _read_words(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[Row]:
    """CoNLL: a word per line, its tag in the last column, an empty line after a sentence."""
    tokens: list[str] = []
    tags: list[str] = []
    begun = 1
    for at, line in [*lines, (0, "")]:
        columns = line.split("\t") if "\t" in line else line.split()
        columns = [column.strip() for column in columns]
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


def _parse(text: str, where: str, hint: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: invalid JSON ({error})", hint=hint) from None


def _as_object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{where}: valid JSON, but not an object", hint="an example is an object")
    return value


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
    **dict.fromkeys(_DELIMITED, _read_delimited),
    **dict.fromkeys(_COLUMNS_OF_WORDS, _read_words),
    ".jsonl": _read_json_lines,
    ".json": _read_json,
}
_KNOWN = (*_READERS, *_TABLES)
