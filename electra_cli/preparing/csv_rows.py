"""Read the rows of a CSV file, or one column of them: each must have the fields of the header."""

import csv
import io
import re
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from electra_cli.errors import DataError
from electra_cli.preparing.columns import BOM, find_column
from electra_cli.preparing.raw_text import InputChecker, read_lines

DELIMITERS = {".csv": ",", ".tsv": "\t"}
OTHER_DELIMITERS = ";\t|,"
# Which Excel reads and writes before the header.
_SEPARATOR_LINE = re.compile(r'"?sep=([;,|\t])"?\s*$')


def read_csv_texts(
    stream: io.BufferedReader, path: Path, column: str, checker: InputChecker, max_field_bytes: int
) -> Iterator[tuple[str, int]]:
    """(text, bytes of the row's other fields) of each row after the header."""
    rows = read_csv_rows(
        stream, path, checker, max_field_bytes, lambda first: _delimiter_of(first, path, column)
    )
    _, header = next(rows, (0, []))
    index = find_column(str(path), column, header)
    for _, row in rows:
        text = row.pop(index)
        others = "".join(row)
        yield text, len(others) if others.isascii() else len(others.encode())


def read_csv_rows(
    stream: io.BufferedReader,
    path: Path,
    checker: InputChecker,
    max_field_bytes: int,
    choose_delimiter: Callable[[str], str],
) -> Iterator[tuple[int, list[str]]]:
    """(line, fields) of the header, then of each row; the first line says what separates fields.

    Quoted fields may hold line ends. Raises DataError for a row with other fields than the header:
    which field is in which column cannot be known. Empty ones at its end are common and harmless.
    """
    # The limit holds for the whole process; nothing else in it reads CSV.
    csv.field_size_limit(max_field_bytes)
    number = 0  # of the last line that was read

    def read() -> Iterator[str]:
        nonlocal number
        for number, line in read_lines(stream, path, max_field_bytes):
            yield checker.check(line, number).decode()

    lines = read()
    first = next((line for line in lines if line.strip()), "").removeprefix(BOM)
    named = _SEPARATOR_LINE.match(first)
    if named:
        first = next(lines, "")
    delimiter = named[1] if named else choose_delimiter(first)
    rows = csv.reader(
        chain([first], lines),
        delimiter=delimiter,
        # In .tsv files quotes are text: fields cannot hold tabs or line ends.
        quoting=csv.QUOTE_NONE if kind_of(path) == ".tsv" else csv.QUOTE_MINIMAL,
        strict=True,
    )
    start = number
    try:
        header = next(rows, [])
        width = len(header)
        yield start, header
        while True:
            start = number + 1
            row = next(rows, None)
            if row is None:
                return
            if len(row) != width:
                if not any(map(str.strip, row)):
                    continue
                if len(row) < width or any(map(str.strip, row[width:])):
                    raise _other_width(f"{path}, line {start}", len(row), width, delimiter)
            yield start, row
    except csv.Error as error:
        raise _invalid(f"{path}, line {start}", error) from None


def kind_of(path: Path) -> str:
    """.csv or .tsv, which the name of a compressed file has before its ending."""
    return next(kind for kind in DELIMITERS if f"{kind}." in f"{path.name}.".lower())


def _delimiter_of(header: str, path: Path, column: str) -> str:
    """What separates the fields: the ending says it, unless only another one gives the column."""
    usual = DELIMITERS[kind_of(path)]
    names = {
        mark: [name.strip().strip('"') for name in header.split(mark)] for mark in OTHER_DELIMITERS
    }
    fitting = [mark for mark, found in names.items() if column.strip() in found]
    return fitting[0] if len(fitting) == 1 else usual


def _other_width(where: str, found: int, width: int, delimiter: str) -> DataError:
    hint = (
        f'a field with {delimiter!r} or a line end in it is written in quotes: "one{delimiter} two"'
    )
    if delimiter == "\t":
        hint = (
            "a field of a .tsv file cannot hold a tab or a line end; write .csv or .jsonl instead"
        )
    elif found > width:
        hint += ", with no blank before them"
    return DataError(
        f"{where}: {found} fields, but {width} in the header, so which of them is which column is "
        "in doubt",
        hint=hint,
    )


def _invalid(where: str, error: csv.Error) -> DataError:
    reason = str(error)
    hint = 'a field that contains quotes is written "so ""quoted"""'
    if "unexpected end" in reason:
        reason = "a quote that opens in this row is never closed"
    elif "new-line character" in reason:
        reason = "a carriage return without a line feed"
        hint = "put fields with line ends in quotes; if all lines end so: tr '\\r' '\\n' < FILE"
    return DataError(f"{where}: invalid CSV ({reason})", hint=hint)
