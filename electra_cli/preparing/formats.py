"""Read the documents of one file: text, JSON lines, CSV, Parquet and Arrow.

Decompression and UTF-8 are raw_text.py's work; which files are read, and the counts over all of
them, are sources.py's.
"""

import codecs
import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from electra_cli.errors import DataError
from electra_cli.preparing.paths import PLAIN_ENDINGS, TABLE_ENDINGS, ending_of
from electra_cli.preparing.plain_text import read_plain_documents
from electra_cli.preparing.raw_text import (
    DocumentGroup,
    InputChecker,
    Limits,
    open_text,
    read_lines,
    strip_text,
    unreadable,
)

if TYPE_CHECKING:
    import pyarrow as pa

END_MARK = b"\xff\xff\xff\xff\0\0\0\0"  # of an Arrow stream; before version 0.15 its second half
TABLE_ROWS = 64  # copied out of Arrow's memory at a time; a row may be a whole book
BOM = codecs.BOM_UTF8.decode()
JSON_HINT = "a .jsonl file has one object per line; jq -c '.[]' FILE makes them from a list"


def read_documents(
    path: Path, column: str, replace_broken: bool, limits: Limits
) -> Iterator[DocumentGroup]:
    """The documents of a file with a usable ending, in order.

    The groups' input bytes add up to the decompressed size of a text file. Of a table only the
    text column is read, so they add up to its bytes. Raises DataError that names the file and the
    line or row.
    """
    kind, compression = _ending_of(path)
    if kind in TABLE_ENDINGS:
        yield from _read_table(path, column, InputChecker(str(path), "row", replace_broken))
        return
    checker = InputChecker(str(path), "line", replace_broken)
    with open_text(path, compression) as (stream, raw):
        if kind in PLAIN_ENDINGS:
            yield from read_plain_documents(stream, raw, checker, limits)
            return
        read_texts = _read_json_texts if kind == ".jsonl" else _read_csv_texts
        for text in read_texts(stream, path, column, checker, limits.max_record_bytes):
            yield checker.make_group([text.strip().encode()], raw.tell())
        yield checker.make_group([], raw.tell())


def check_file(path: Path, column: str, replace_broken: bool, limits: Limits) -> None:
    """Raise DataError where the file is empty or its beginning shows that it cannot be read."""
    kind, compression = _ending_of(path)
    if kind not in TABLE_ENDINGS:
        with open_text(path, compression) as (stream, _):
            if not stream.peek(1):
                raise DataError(f"{path} is empty", hint="leave it out, or name another file")
    if kind not in PLAIN_ENDINGS:  # whose first document may be as long as the file
        next(read_documents(path, column, replace_broken, limits), None)


def no_column(where: str, column: str, columns: Iterable[str]) -> DataError:
    """The DataError for a missing column; its hint lists those there are."""
    names = ", ".join(columns) or "none at all"
    return DataError(f"{where}: no column {column}", hint=f"--column takes one of: {names}")


def not_text(where: str, column: str, kind: str) -> DataError:
    """The DataError for a column of another type."""
    return DataError(
        f"{where}: column {column} holds {kind}, not text",
        hint="choose a column of text with --column",
    )


def _read_json_texts(
    stream: io.BufferedReader, path: Path, column: str, checker: InputChecker, max_line_bytes: int
) -> Iterator[str]:
    """One object per line; null is an empty document."""
    for number, line in read_lines(stream, path, max_line_bytes):
        where = f"{path}, line {number}"
        source = checker.check(line, number).decode().removeprefix(BOM)
        if not source or source.isspace():
            continue
        try:
            row = json.loads(source)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: invalid JSON ({error})", hint=JSON_HINT) from None
        if not isinstance(row, dict):
            raise DataError(f"{where}: valid JSON, but not an object", hint=JSON_HINT)
        if column not in row:
            raise no_column(where, column, row)
        text = row[column]
        if text is not None and not isinstance(text, str):
            raise not_text(where, column, type(text).__name__)
        yield checker.repair(text or "", number)


def _read_csv_texts(
    stream: io.BufferedReader, path: Path, column: str, checker: InputChecker, max_field_bytes: int
) -> Iterator[str]:
    """A header, then one document per row; quoted fields may hold line ends."""
    # The limit holds for the whole process; `electra prepare` reads no other CSV.
    csv.field_size_limit(max_field_bytes)
    numbered = read_lines(stream, path, max_field_bytes)
    lines = (checker.check(line, number).decode() for number, line in numbered)
    rows = csv.reader(lines, strict=True)
    try:
        header = next(rows, [])
        header[:1] = [name.removeprefix(BOM) for name in header[:1]]
        if column not in header:
            raise no_column(str(path), column, header)
        index = header.index(column)
        for row in rows:
            if row and len(row) <= index:
                raise DataError(
                    f"{path}, line {rows.line_num}: no field {index + 1} ({column}) in this row",
                    hint="every row needs as many fields as the header",
                )
            if row:
                yield row[index]
    except csv.Error as error:
        raise DataError(
            f"{path}, line {rows.line_num}: invalid CSV ({error})",
            hint='commas separate fields; one that contains quotes is written "so ""quoted"""',
        ) from None


def _read_table(path: Path, column: str, checker: InputChecker) -> Iterator[DocumentGroup]:
    """One document per row; null is an empty document."""
    import pyarrow as pa

    number = 0
    read_batches = _read_parquet if _ending_of(path)[0] == ".parquet" else _read_arrow
    try:
        size = path.stat().st_size
        for texts, done_fraction in read_batches(path, column):
            checked = _as_checked_bytes(texts)
            for start in range(0, len(checked), TABLE_ROWS):
                rows = checked.slice(start, TABLE_ROWS)
                if pa.types.is_dictionary(rows.type):
                    rows = rows.dictionary_decode()
                documents = []
                for value in rows.cast(pa.large_binary()).to_pylist():
                    number += 1
                    documents.append(strip_text(checker.check(value or b"", number)))
                yield checker.make_group(documents, round(size * done_fraction))
        yield checker.make_group([], size)
    # UnicodeDecodeError is raised for the name of a column.
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from None


def _as_checked_bytes(texts: "pa.Array") -> "pa.Array":
    """The same rows as bytes, not decoded, after a check that each lies inside the file.

    Arrow trusts the offsets in a file: unchecked, a damaged file ends the process. The rows become
    bytes because Arrow does not check that strings are valid UTF-8 either.
    """
    import pyarrow as pa

    if pa.types.is_dictionary(texts.type):
        rows = pa.DictionaryArray.from_arrays(texts.indices, _as_checked_bytes(texts.dictionary))
    else:
        kinds = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}
        rows = texts.view(kinds.get(texts.type, pa.binary_view()))
    rows.validate(full=True)
    return rows


def _read_parquet(path: Path, column: str) -> Iterator[tuple["pa.Array", float]]:
    """(texts, share of the file that was read with them)."""
    import pyarrow.parquet as pq

    # Without pre_buffer a column is read page by page, not a whole row group at once.
    with pq.ParquetFile(
        path, memory_map=True, pre_buffer=False, page_checksum_verification=True
    ) as file:
        _check_column(path, file.schema_arrow, column)
        done = 0
        for batch in file.iter_batches(batch_size=TABLE_ROWS, columns=[column]):
            done += batch.num_rows
            yield batch.column(0), done / file.metadata.num_rows


def _read_arrow(path: Path, column: str) -> Iterator[tuple["pa.Array", float]]:
    """(texts, share of the file read). Arrow files have an index at the end, or are streams.

    `datasets` writes streams.
    """
    import pyarrow as pa

    with pa.memory_map(str(path)) as mapped:
        head = mapped.read(6)
        is_indexed = head == b"ARROW1"
        mapped.seek(0)
        reader = pa.ipc.open_file(mapped) if is_indexed else pa.ipc.open_stream(mapped)
        _check_column(path, reader.schema, column)
        if is_indexed:
            count = reader.num_record_batches
            for index in range(count):
                yield reader.get_batch(index).column(column), (index + 1) / count
        else:
            for batch in reader:
                yield batch.column(column), mapped.tell() / mapped.size()
            _check_end(mapped, END_MARK if head.startswith(END_MARK[:4]) else END_MARK[4:])


def _check_end(mapped: "pa.MemoryMappedFile", mark: bytes) -> None:
    """Raise OSError unless the stream ends with its mark, at the end of the file.

    Arrow itself accepts a file that was cut between two batches, and two files in one.
    """
    end = mapped.tell()
    mapped.seek(max(0, end - len(mark)))
    if mapped.read(len(mark)) != mark:
        raise OSError("the end of the stream is missing")
    if end != mapped.size():
        raise OSError(f"{mapped.size() - end:,} bytes follow the end of the stream")


def _check_column(path: Path, schema: "pa.Schema", column: str) -> None:
    import pyarrow as pa

    if column not in schema.names:
        raise no_column(str(path), column, schema.names)
    kind = schema.field(column).type
    value_kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    text_kinds = (pa.string(), pa.large_string(), pa.string_view())
    if value_kind not in text_kinds:
        raise not_text(str(path), column, str(kind))


def _ending_of(path: Path) -> tuple[str, str]:
    ending = ending_of(path)
    assert ending is not None, path  # find_files returns usable files only
    return ending
