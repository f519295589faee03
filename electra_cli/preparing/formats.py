"""Read the documents of one file: text, JSON lines, CSV, Parquet and Arrow.

Knows the formats only. Decompression and UTF-8 are text_input.py's work, which files are read
and what is counted over all of them sources.py's.
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
from electra_cli.preparing.raw_text import (
    MAX_RECORD_BYTES,
    Record,
    Utf8Checker,
    opened,
    strip_text,
    unreadable,
    whole_lines_of,
)

if TYPE_CHECKING:
    import pyarrow as pa

END_MARK = b"\xff\xff\xff\xff\0\0\0\0"  # of an Arrow stream; before version 0.15 its second half
TABLE_ROWS = 64  # taken out of Arrow's memory at a time; a row may be a whole book
BOM = codecs.BOM_UTF8.decode()
JSON_HINT = "a .jsonl file has one object a line; jq -c '.[]' FILE makes them from a list"


def read_records(path: Path, column: str, replace_broken: bool) -> Iterator[Record]:
    """The documents of a file with a usable ending, in order.

    The records' input bytes add up to the decompressed size of a text file; of a table to the
    bytes of its text column, since nothing else of it is read. Raises DataError that names the
    file and the line or row.
    """
    kind, compression = _ending_of(path)
    if kind in TABLE_ENDINGS:
        yield from _table_records(path, column, Utf8Checker(str(path), "row", replace_broken))
        return
    checker = Utf8Checker(str(path), "line", replace_broken)
    with opened(path, compression) as (stream, raw):
        if kind in PLAIN_ENDINGS:
            from electra_cli.preparing.plain_text import plain_records  # loads numpy

            yield from plain_records(stream, raw, checker)
            return
        texts = _json_texts if kind == ".jsonl" else _csv_texts
        for text in texts(stream, path, column, checker):
            yield checker.record([text.strip().encode()], raw.tell())
        yield checker.record([], raw.tell())


def check_file(path: Path, column: str, replace_broken: bool) -> None:
    """Raise DataError where the file is empty or its beginning shows that it cannot be read."""
    kind, compression = _ending_of(path)
    if kind not in TABLE_ENDINGS:
        with opened(path, compression) as (stream, _):
            if not stream.peek(1):
                raise DataError(f"{path} is empty", hint="leave it out, or name another file")
    if kind not in PLAIN_ENDINGS:  # whose first document may be as long as the file
        next(read_records(path, column, replace_broken), None)


def no_column(where: str, column: str, columns: Iterable[str]) -> DataError:
    """The column is not there; the hint lists those that are."""
    names = ", ".join(columns) or "none at all"
    return DataError(f"{where}: no column {column}", hint=f"--column takes one of: {names}")


def not_text(where: str, column: str, kind: str) -> DataError:
    """The column is there, but holds something else."""
    return DataError(
        f"{where}: column {column} holds {kind}, not text", hint="--column takes another one"
    )


def _json_texts(
    stream: io.BufferedReader, path: Path, column: str, checker: Utf8Checker
) -> Iterator[str]:
    """One object a line; null is an empty document."""
    for number, line in whole_lines_of(stream, path):
        where = f"{path}, line {number}"
        source = checker.check(line, number).decode().removeprefix(BOM)
        if not source or source.isspace():
            continue
        try:
            row = json.loads(source)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: no JSON ({error})", hint=JSON_HINT) from None
        if not isinstance(row, dict):
            raise DataError(f"{where}: JSON, but no object", hint=JSON_HINT)
        if column not in row:
            raise no_column(where, column, row)
        text = row[column]
        if text is not None and not isinstance(text, str):
            raise not_text(where, column, type(text).__name__)
        yield checker.repair(text or "", number)


def _csv_texts(
    stream: io.BufferedReader, path: Path, column: str, checker: Utf8Checker
) -> Iterator[str]:
    """A header, then one document a row; quoted fields may hold line ends."""
    # The limit is the whole process's; nothing else in it reads CSV.
    csv.field_size_limit(MAX_RECORD_BYTES)
    numbered = whole_lines_of(stream, path)
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
            f"{path}, line {rows.line_num}: no CSV ({error})",
            hint='fields stand between commas; one with quotes in it is written "so ""quoted"""',
        ) from None


def _table_records(path: Path, column: str, checker: Utf8Checker) -> Iterator[Record]:
    """One document a row; null is an empty document."""
    import pyarrow as pa

    number = 0
    batches = _parquet_batches if _ending_of(path)[0] == ".parquet" else _arrow_batches
    try:
        size = path.stat().st_size
        for texts, done_fraction in batches(path, column):
            checked = _as_bytes(texts)
            for start in range(0, len(checked), TABLE_ROWS):
                rows = checked.slice(start, TABLE_ROWS)
                if pa.types.is_dictionary(rows.type):
                    rows = rows.dictionary_decode()
                documents = []
                for value in rows.cast(pa.large_binary()).to_pylist():
                    number += 1
                    documents.append(strip_text(checker.check(value or b"", number)))
                yield checker.record(documents, round(size * done_fraction))
        yield checker.record([], size)
    # UnicodeDecodeError: the name of a column.
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from None


def _as_bytes(texts: "pa.Array") -> "pa.Array":
    """The same rows as bytes, each inside the file and not yet decoded.

    Arrow believes what a file says of itself: unchecked, a damaged one ends the process. As bytes,
    since it does not promise that strings are valid UTF-8 either.
    """
    import pyarrow as pa

    if pa.types.is_dictionary(texts.type):
        rows = pa.DictionaryArray.from_arrays(texts.indices, _as_bytes(texts.dictionary))
    else:
        kinds = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}
        rows = texts.view(kinds.get(texts.type, pa.binary_view()))
    rows.validate(full=True)
    return rows


def _parquet_batches(path: Path, column: str) -> Iterator[tuple["pa.Array", float]]:
    """(texts, share of the file that is done with them)."""
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


def _arrow_batches(path: Path, column: str) -> Iterator[tuple["pa.Array", float]]:
    """Both kinds of Arrow files: with an index at the end, and streams, as `datasets` has them."""
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
    """Raise OSError unless a stream ends with its mark, and the file with the stream.

    Arrow takes a file that was cut between two batches, or two files in one, for a whole one.
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
    assert ending is not None, path  # find_files took usable files only
    return ending
