"""Read the documents of one file: text, JSON lines, CSV, Parquet and Arrow.

Decompression and UTF-8 are raw_text.py's work; which files are read, and the counts over all of
them, are sources.py's.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from electra_cli.errors import DataError
from electra_cli.preparing.columns import find_column, not_text
from electra_cli.preparing.csv_rows import read_csv_texts
from electra_cli.preparing.json_rows import read_json_texts
from electra_cli.preparing.paths import PLAIN_ENDINGS, TABLE_ENDINGS, ending_of
from electra_cli.preparing.plain_text import read_plain_documents
from electra_cli.preparing.raw_text import (
    DocumentGroup,
    InputChecker,
    Limits,
    check_lines_of,
    open_text,
    strip_text,
    unreadable,
)

if TYPE_CHECKING:
    import pyarrow as pa

END_MARK = b"\xff\xff\xff\xff\0\0\0\0"  # of an Arrow stream; before version 0.15 its second half
ROWS_CHECKED_FIRST = 1_000  # without a text, which only the end of the file shows to be an error
TABLE_ROWS = 64  # copied out of Arrow's memory at a time; a row may be a whole book


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
    checker = check_lines_of(path, compression, replace_broken)
    with open_text(path, compression) as (stream, raw):
        if kind in PLAIN_ENDINGS:
            yield from read_plain_documents(stream, raw, checker, limits)
            return
        read_texts = read_json_texts if kind == ".jsonl" else read_csv_texts
        for text, others in read_texts(stream, path, column, checker, limits.max_record_bytes):
            yield checker.make_group([text.strip().encode()], raw.tell(), False, others)
        yield checker.make_group([], raw.tell())


def check_file(path: Path, column: str, replace_broken: bool, limits: Limits) -> None:
    """Raise DataError where the file is empty or its beginning shows that it cannot be read."""
    kind, compression = _ending_of(path)
    is_empty = path.stat().st_size == 0
    if kind not in TABLE_ENDINGS and not is_empty:
        with open_text(path, compression) as (stream, _):
            is_empty = not stream.peek(1)
    if is_empty:
        raise DataError(f"{path} is empty", hint="leave it out, or name another file")
    if kind not in PLAIN_ENDINGS:  # whose first document may be as long as the file
        groups = read_documents(path, column, replace_broken, limits)
        next((group for group in islice(groups, ROWS_CHECKED_FIRST) if any(group.texts)), None)


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
    except (pa.ArrowException, OSError, MemoryError, UnicodeDecodeError) as error:
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
        name = _find_text(path, file.schema_arrow, column)
        done = 0
        for batch in file.iter_batches(batch_size=TABLE_ROWS, columns=[name]):
            done += batch.num_rows
            yield batch.column(0), done / file.metadata.num_rows


def _read_arrow(path: Path, column: str) -> Iterator[tuple["pa.Array", float]]:
    """(texts, share of the file read). Arrow files have an index at the end, or are streams.

    `datasets` writes streams.
    """
    import pyarrow as pa

    with pa.memory_map(str(path)) as mapped:
        head = mapped.read(6)
        if head.startswith(b"FEA1"):
            raise pa.ArrowNotImplementedError("it is in Feather's version 1")
        is_indexed = head == b"ARROW1"
        mapped.seek(0)
        reader = pa.ipc.open_file(mapped) if is_indexed else pa.ipc.open_stream(mapped)
        name = _find_text(path, reader.schema, column)
        if is_indexed:
            count = reader.num_record_batches
            for index in range(count):
                yield reader.get_batch(index).column(name), (index + 1) / count
        else:
            for batch in reader:
                yield batch.column(name), mapped.tell() / mapped.size()
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


def _find_text(path: Path, schema: "pa.Schema", column: str) -> str:
    """The column's name as the table has it. Raises DataError unless it holds text."""
    import pyarrow as pa

    field = schema.field(find_column(str(path), column, schema.names))
    value_kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if value_kind not in (pa.string(), pa.large_string(), pa.string_view()):
        raise not_text(str(path), column, str(field.type))
    name: str = field.name
    return name


def _ending_of(path: Path) -> tuple[str, str]:
    ending = ending_of(path)
    assert ending is not None, path  # find_files returns usable files only
    return ending
