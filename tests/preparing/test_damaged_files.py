"""Files with flipped bits, cut short or with something behind their end: an error, never a crash
of the process, and never half of the documents for all of them.
"""

import gzip
import lzma
import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from electra_cli.errors import DataError
from electra_cli.preparing.source import Source, SourceOptions
from electra_cli.preparing.sources import open_source

DOCUMENTS = [f"Document {number} has words, é, 水 and 🙂." for number in range(60)]
TEXT = ("\n\n".join(DOCUMENTS) + "\n\n").encode()


def table_bytes(write, close: bool = True) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table({"text": DOCUMENTS})
    if write is pq.write_table:
        pq.write_table(table, sink, write_page_checksum=True)
        return sink.getvalue().to_pybytes()
    writer = write(sink, table.schema)
    writer.write_table(table, max_chunksize=20)
    if close:
        writer.close()
    return sink.getvalue().to_pybytes()


CONTENTS = {
    "a.parquet": table_bytes(pq.write_table),
    "stream.arrow": table_bytes(pa.ipc.new_stream),
    "file.arrow": table_bytes(pa.ipc.new_file),
    "a.txt.gz": gzip.compress(TEXT),
    "a.txt.xz": lzma.compress(TEXT),
    "a.txt.zst": pa.compress(TEXT, "zstd", asbytes=True),
}


def source_of(path: Path) -> Source:
    return open_source(SourceOptions((str(path),), replace_broken=True))


def read(path: Path) -> list[str]:
    source = source_of(path)
    documents = [document.decode() for document in source.documents()]
    counts = source.counts
    assert counts.text_bytes == sum(len(document.encode()) for document in documents)
    assert (
        counts.bytes_read + counts.replacement_bytes == counts.text_bytes + counts.separator_bytes
    )
    return documents


def refused(path: Path) -> bool:
    try:
        read(path)
    except DataError as error:
        assert str(path) in str(error)
        return True
    return False


def flipped(content: bytes, seed: int) -> bytes:
    draw = random.Random(seed)
    damaged = bytearray(content)
    for _ in range(draw.randint(1, 3)):
        damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
    return bytes(damaged)


def count_refused_with_flipped_bits(name: str, path: Path, times: int) -> int:
    count = 0
    for seed in range(times):
        path.write_bytes(flipped(CONTENTS[name], seed))
        count += refused(path)
    return count


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTENTS)
def test_flipped_bits_are_an_error_or_other_text_and_never_end_the_process(tmp_path, name):
    # In a process of its own: what a damaged Arrow file could do is a segmentation fault.
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\n"
        "from test_damaged_files import count_refused_with_flipped_bits as count\n"
        f"print(count({name!r}, Path({str(tmp_path / name)!r}), 400))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # Arrow and zstd as written here carry no checksum of the text itself.
    assert int(done.stdout) >= (390 if name.endswith((".gz", ".xz")) else 100)


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_cut_short_anywhere_is_refused(tmp_path, name):
    path = tmp_path / name
    content = CONTENTS[name]
    path.write_bytes(content)
    assert read(path) == DOCUMENTS
    for length in {*range(0, len(content), 41), len(content) - 1, len(content) - 8}:
        path.write_bytes(content[:length])
        assert refused(path), length


def test_a_stream_whose_writer_was_killed_between_two_batches_is_refused(tmp_path):
    path = tmp_path / "a.arrow"
    path.write_bytes(table_bytes(pa.ipc.new_stream, close=False))
    with pytest.raises(DataError, match="the end of the stream is missing"):
        read(path)


@pytest.mark.parametrize("name", ["a.parquet", "stream.arrow", "file.arrow", "a.txt.xz"])
def test_what_follows_the_end_is_an_error(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(CONTENTS[name] + b"something")
    assert refused(path)
    path.write_bytes(CONTENTS["stream.arrow"] * 2 if ".arrow" in name else b"x" + CONTENTS[name])
    assert refused(path)


@pytest.mark.parametrize("name", ["a.txt.gz", "a.txt.xz", "a.txt.zst"])
def test_compressed_files_joined_by_cat_are_read_to_the_end(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(CONTENTS[name] * 3)
    assert read(path) == DOCUMENTS * 3
    path.write_bytes(CONTENTS[name] * 2 + CONTENTS[name][:-9])
    assert refused(path)
