import csv
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from electra_cli.errors import DataError
from electra_cli.preparing.raw_text import (
    DEFAULT_LIMITS,
    InputChecker,
    Limits,
    cut_position,
    strip_text,
)
from electra_cli.preparing.source import Source, SourceOptions
from electra_cli.preparing.sources import open_source

DOCUMENTS = ["One line.", "Two lines,\nthe second with é and 水.", 'With "quotes", commas\tand 🙂.']


def plain(documents: list[str]) -> bytes:
    return "\n\n".join(documents).encode() + b"\n"


def json_lines(documents: list[str], column: str = "text") -> bytes:
    return b"".join(json.dumps({"id": 1, column: d}).encode() + b"\n" for d in documents)


def comma_separated(documents: list[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows([["id", "text"], *([1, document] for document in documents)])
    return out.getvalue().encode()


def table(documents: list[str | None], kind: pa.DataType | None = None) -> pa.Table:
    texts = pa.array(documents, pa.string())
    return pa.table({"id": list(range(len(documents))), "text": texts.cast(kind or pa.string())})


def parquet(documents: list[str]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table(documents), sink)
    return sink.getvalue().to_pybytes()


def arrow_stream(documents: list[str]) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table(documents).schema) as writer:
        writer.write_table(table(documents), max_chunksize=2)
    return sink.getvalue().to_pybytes()


def arrow_file(documents: list[str]) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table(documents).schema) as writer:
        writer.write_table(table(documents), max_chunksize=2)
    return sink.getvalue().to_pybytes()


def zstd(data: bytes) -> bytes:
    return pa.compress(data, "zstd", asbytes=True)


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": zstd,
}
TEXT_KINDS = {".txt": plain, ".md": plain, ".jsonl": json_lines, ".csv": comma_separated}
TABLE_KINDS = [(".parquet", parquet), (".arrow", arrow_stream), (".arrow", arrow_file)]


def source_of(*paths: object, limits: Limits = DEFAULT_LIMITS, **options: object) -> Source:
    return open_source(SourceOptions(tuple(map(str, paths)), **options), limits)


def documents_of(source: Source) -> list[str]:
    return [document.decode() for document in source.documents()]


def read(*paths: object, **options: object) -> list[str]:
    return documents_of(source_of(*paths, **options))


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def problem_of(*paths: object, **options: object) -> tuple[str, str]:
    """(problem, hint) of a source that cannot be read."""
    with pytest.raises(DataError) as caught:
        read(*paths, **options)
    assert caught.value.hint
    return str(caught.value), caught.value.hint


def assert_all_bytes_are_accounted_for(source: Source) -> None:
    counts = source.counts
    dropped = (counts.separator_bytes, counts.other_column_bytes, counts.beyond_limit_bytes)
    assert min(dropped) >= 0
    assert counts.bytes_read + counts.replacement_bytes == counts.text_bytes + sum(dropped)


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_documents_of_every_text_kind_come_back(tmp_path, kind, compression):
    content = TEXT_KINDS[kind](DOCUMENTS)
    path = write(tmp_path / f"corpus{kind}{compression}", COMPRESS[compression](content))
    source = source_of(path)
    assert documents_of(source) == DOCUMENTS
    assert source.name == "corpus"
    assert source.counts.files == 1
    assert source.counts.documents == len(DOCUMENTS)
    assert source.counts.text_bytes == sum(len(document.encode()) for document in DOCUMENTS)
    assert source.counts.bytes_read == len(content)
    assert source.counts.disk_bytes_read == source.total_bytes() == path.stat().st_size
    assert_all_bytes_are_accounted_for(source)


@pytest.mark.parametrize(("kind", "content"), TABLE_KINDS)
def test_documents_of_every_table_kind_come_back(tmp_path, kind, content):
    documents = [f"{document} {number}" for number in range(90) for document in DOCUMENTS]
    path = write(tmp_path / f"corpus{kind}", content(documents))
    source = source_of(path)
    assert documents_of(source) == documents
    assert source.counts.bytes_read == sum(len(document.encode()) for document in documents)
    assert source.counts.disk_bytes_read == source.total_bytes() == path.stat().st_size
    assert_all_bytes_are_accounted_for(source)


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_arrow_reads_every_type_of_text(tmp_path, kind):
    texts = table(["One.", None, "Two."], kind)
    with pa.ipc.new_stream(tmp_path / "a.arrow", texts.schema) as writer:
        writer.write_table(texts)
    source = source_of(tmp_path / "a.arrow")
    assert documents_of(source) == ["One.", "Two."]
    assert source.counts.empty_documents == 1


# Words of a document: printable, without what counts as white space to Python.
words = st.text(
    st.characters(codec="utf-8", exclude_categories=("Zs", "Zl", "Zp", "Cc")), min_size=1
)
documents_strategy = st.lists(
    st.lists(words, min_size=1, max_size=4).map("\n".join).filter(lambda text: text[0] != "\ufeff"),
    min_size=1,
    max_size=8,
)


@settings(max_examples=50, deadline=None)
@given(documents_strategy, st.sampled_from(["\n", "\r\n"]), st.integers(1, 3), st.booleans())
def test_documents_written_as_text_come_back(
    tmp_path_factory, documents, line_end, blank_lines, has_bom
):
    content = ("\n" * (blank_lines + 1)).join(documents).replace("\n", line_end)
    path = write(tmp_path_factory.mktemp("text") / "a.txt", "\ufeff" * has_bom + content)
    source = source_of(path)
    assert documents_of(source) == documents
    assert source.counts.bytes_read == path.stat().st_size
    assert_all_bytes_are_accounted_for(source)


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=1, max_size=300))
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    path = write(tmp_path_factory.mktemp("bytes") / "a.txt", content)
    try:
        source = source_of(path, replace_broken=True)
        documents = documents_of(source)
    except DataError:
        return
    assert "\0" not in "".join(documents)
    assert source.counts.text_bytes == sum(len(document.encode()) for document in documents)
    assert source.counts.bytes_read == len(content)
    assert_all_bytes_are_accounted_for(source)


def test_white_space_lines_separate_documents_and_count_as_separators(tmp_path):
    path = write(tmp_path / "a.txt", "  \n\n One. \n \t\r\n\u3000\nTwo.\n\n\n")
    source = source_of(path)
    assert documents_of(source) == ["One.", "Two."]
    assert source.counts.separator_bytes == path.stat().st_size - len("One.Two.")
    assert source.counts.empty_documents == 0


def slow_documents(text: str) -> list[str]:
    """Line by line: lines of white space alone stand between documents."""
    documents: list[list[str]] = [[]]
    for line in text.split("\n"):
        if line.strip():
            documents[-1].append(line)
        else:
            documents.append([])
    return ["\n".join(lines).strip() for lines in documents if lines]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(["a", "é", "。", "\n", "\n\n", " ", "\t", "\u2002", "\u3000", "\x85"]),
        min_size=1,
    ),
    st.integers(1, 9),
)
def test_documents_are_found_wherever_reading_stops(tmp_path_factory, parts, chunk_bytes):
    text = "".join(parts)
    path = write(tmp_path_factory.mktemp("text") / "a.txt", text)
    source = source_of(path, limits=Limits(chunk_bytes=chunk_bytes))
    if not slow_documents(text):
        with pytest.raises(DataError, match="no document"):
            documents_of(source)
        return
    assert documents_of(source) == slow_documents(text)
    assert source.counts.empty_documents == source.counts.split_documents == 0
    assert source.counts.bytes_read == path.stat().st_size
    assert_all_bytes_are_accounted_for(source)


def test_every_character_of_white_space_makes_a_blank_line(tmp_path):
    spaces = [c for c in map(chr, range(sys.maxunicode + 1)) if c.isspace() and c not in "\n\r"]
    assert len(spaces) > 20
    path = write(tmp_path / "a.txt", "".join(f"a\n{space}\n" for space in spaces))
    assert read(path) == ["a"] * len(spaces)


def test_folders_are_read_in_the_order_of_their_names(tmp_path):
    for name in ("b/1.txt", "a/2.md", "a/1.txt", "c.jsonl.gz", "a/.hidden.txt", ".git/x.txt"):
        text = f"{name} says so."
        content = gzip.compress(json_lines([text])) if "jsonl" in name else text
        write(tmp_path / "corpus" / name, content)
    write(tmp_path / "corpus/table.pdf", "%PDF")
    write(tmp_path / "corpus/a/empty.txt", "")
    source = source_of(tmp_path / "corpus")
    expected = [f"{name} says so." for name in ("c.jsonl.gz", "a/1.txt", "a/2.md", "b/1.txt")]
    assert documents_of(source) == expected
    assert documents_of(source) == expected
    assert source.counts.files == source.counts.documents == len(expected)
    assert source.name == "corpus"
    assert [path.name for path in source.skipped] == ["table.pdf", "empty.txt"]


def test_links_to_folders_and_broken_ones_are_skipped_and_named(tmp_path):
    write(tmp_path / "corpus/a.txt", "One.")
    write(tmp_path / "elsewhere/b.txt", "Two.")
    (tmp_path / "corpus/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "corpus/loop").symlink_to(tmp_path / "corpus")
    (tmp_path / "corpus/broken.txt").symlink_to(tmp_path / "nowhere.txt")
    source = source_of(tmp_path / "corpus")
    assert documents_of(source) == ["One."]
    assert [path.name for path in source.skipped] == ["linked", "loop", "broken.txt"]


def test_several_files_are_named_after_their_folder_or_the_first(tmp_path):
    for name in ("books/a.txt", "books/b.txt", "notes/c.txt"):
        write(tmp_path / name, f"{name} says so.")
    a, b, c = (tmp_path / name for name in ("books/a.txt", "books/b.txt", "notes/c.txt"))
    assert source_of(a).name == "a"
    assert source_of(a, b).name == source_of(tmp_path / "books/*.txt").name == "books"
    assert source_of(a, b, c).name == "a-and-2-more"
    assert source_of(tmp_path / "*/*.txt").name == "a-and-2-more"


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("a\x1b[31m\n.txt", "a_[31m_"),
        ("..txt", "text"),
        ("...txt", "text"),
        ("..a.txt", "a"),
        ("\u202egpj.txt", "_gpj"),
        ("水 é.txt", "水 é"),
    ],
)
def test_the_folder_of_a_file_has_a_plain_name_whatever_the_file_is_called(tmp_path, name, folder):
    path = tmp_path / name
    path.write_bytes(b"Text.")
    assert source_of(path).name == folder
    assert read(path) == ["Text."]


def test_a_name_that_no_disk_can_hold_is_named(tmp_path):
    for name in ("x" * 5_000, "x" * 5_000 + ".txt", tmp_path / ("y" * 5_000 + "*.txt")):
        assert problem_of(name)[0]
        assert problem_of(name, "other.txt")[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_an_error_and_not_skipped(tmp_path):
    write(tmp_path / "corpus/a.txt", "One.")
    write(tmp_path / "corpus/secret/b.txt", "Two.")
    (tmp_path / "corpus/secret").chmod(0)
    try:
        assert "secret cannot be read: Permission denied" in problem_of(tmp_path / "corpus")[0]
    finally:
        (tmp_path / "corpus/secret").chmod(0o700)


def test_globs_are_sorted_and_files_are_read_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("x/b.txt", "x/a.txt", "x/deep/c.txt", "x/no.pdf"):
        write(tmp_path / name, f"{name} says so.")
    in_x = ["x/a.txt says so.", "x/b.txt says so."]
    assert read("x/*.txt") == in_x
    assert read(tmp_path / "x/*.txt") == in_x
    assert read("x/**/*.txt", "x/./a.txt", "x") == [*in_x, "x/deep/c.txt says so."]
    assert source_of("x/[b]*").name == "b"
    assert source_of(".").name == tmp_path.name


def test_the_column_is_a_choice(tmp_path):
    path = write(tmp_path / "a.jsonl", json_lines(DOCUMENTS, column="body"))
    assert read(path, column="body") == DOCUMENTS
    problem, hint = problem_of(path)
    assert "no column text" in problem
    assert "id, body" in hint


def test_a_missing_column_of_tables_and_csv_lists_those_there_are(tmp_path):
    for name, content in (("a.csv", comma_separated), ("a.parquet", parquet)):
        problem, hint = problem_of(write(tmp_path / name, content(DOCUMENTS)), column="body")
        assert "no column body" in problem
        assert "id, text" in hint


def test_a_column_of_numbers_is_no_text(tmp_path):
    for name, content, kind in (
        ("a.jsonl", json_lines, "a number"),
        ("a.arrow", arrow_stream, "int"),
    ):
        problem, _ = problem_of(write(tmp_path / name, content(DOCUMENTS)), column="id")
        assert f"column id holds {kind}" in problem


def test_empty_documents_are_dropped_and_counted(tmp_path):
    rows = [{"text": "One."}, {"text": " \n"}, {"text": None}, {"text": ""}]
    path = write(tmp_path / "a.jsonl", "\n\n".join(map(json.dumps, rows)))
    source = source_of(path)
    assert documents_of(source) == ["One."]
    assert source.counts.empty_documents == 3
    assert source.counts.bytes_read == path.stat().st_size
    assert_all_bytes_are_accounted_for(source)


def test_a_bad_json_line_names_file_and_line(tmp_path):
    path = write(tmp_path / "a.jsonl", json_lines(["One."]) + b'\n{"text": oops}\n')
    assert f"{path}, line 3: invalid JSON" in problem_of(path)[0]
    path = write(tmp_path / "b.jsonl", '["One."]')
    assert f"{path}, line 1: valid JSON, but not an object" in problem_of(path)[0]
    path = write(tmp_path / "c.jsonl", "[" * 100_000)
    assert "invalid JSON" in problem_of(path)[0]


def test_bad_csv_names_file_and_line(tmp_path):
    path = write(tmp_path / "a.csv", 'id,text\n1,"open\n')
    assert f"{path}, line 2: invalid CSV" in problem_of(path)[0]
    path = write(tmp_path / "b.csv", "id,text\n1,One.\n\n2\n")
    assert f"{path}, line 4: 1 fields, but 2 in the header" in problem_of(path)[0]


def test_a_byte_order_mark_is_dropped(tmp_path):
    for kind, content in TEXT_KINDS.items():
        path = write(tmp_path / f"a{kind}", b"\xef\xbb\xbf" + content(DOCUMENTS))
        assert read(path) == DOCUMENTS
    path = write(tmp_path / "first.csv", b"\xef\xbb\xbftext,id\nOne.,1\n")
    assert read(path) == ["One."]


def test_broken_text_is_an_error_that_names_the_line(tmp_path):
    path = write(tmp_path / "a.txt", b"Fine.\n\nThis line has a caf\xe9 in it.\n")
    problem, hint = problem_of(path)
    assert f"{path}, line 3: broken UTF-8 (byte 0xe9)" in problem
    assert "--replace-broken" in hint


@pytest.mark.parametrize("chunk_bytes", [1, 30, 1_000, 1 << 20])
def test_lines_are_numbered_alike_wherever_reading_stops(tmp_path, chunk_bytes):
    limits = Limits(chunk_bytes=chunk_bytes)
    lines = [b"\n" if number % 7 == 6 else b"An even line.\r\n" for number in range(500)]
    lines[300] = lines[303] = lines[310] = b"caf\xe9\n"
    path = write(tmp_path / "a.txt", b"".join(lines))
    assert f"{path}, line 301: broken UTF-8" in problem_of(path, limits=limits)[0]
    source = source_of(path, limits=limits, replace_broken=True)
    assert sum(text.count("caf\ufffd") for text in documents_of(source)) == 3
    assert source.counts.broken_lines == 3


@given(st.binary(max_size=9), st.text(max_size=9))
def test_what_python_decodes_and_strips_is_what_passes_and_is_left(raw, text):
    mixed = text.encode() + raw
    try:
        expected = mixed.decode()
    except UnicodeDecodeError:
        expected = "\0"
    if "\0" in expected:
        with pytest.raises(DataError, match=r"broken UTF-8|a NUL"):
            InputChecker("a.txt", "line", replace_broken=False).check(mixed, 1)
    else:
        assert InputChecker("a.txt", "line", replace_broken=False).check(mixed, 1) == mixed
        assert strip_text(mixed) == expected.strip().encode()


def test_broken_text_is_replaced_and_counted_when_asked(tmp_path):
    content = b"A caf\xe9 and a th\xe9.\nFine.\nA hole \0 in it.\nCut \xf0\x9f\x99 short.\n"
    path = write(tmp_path / "a.txt", content)
    source = source_of(path, replace_broken=True)
    text = "A caf\ufffd and a th\ufffd.\nFine.\nA hole \ufffd in it.\nCut \ufffd short."
    assert documents_of(source) == [text]
    assert source.counts.broken_lines == 3
    assert source.counts.replacement_bytes == 2 + 2 + 2 + 0
    assert_all_bytes_are_accounted_for(source)


def test_escapes_for_what_utf8_cannot_hold_are_broken_text(tmp_path):
    path = write(tmp_path / "a.jsonl", r'{"text": "a \ud800 b \u0000 c \ud83d\ude42."}')
    assert f"{path}, line 1: half a character (U+D800)" in problem_of(path)[0]
    source = source_of(path, replace_broken=True)
    assert documents_of(source) == ["a \ufffd b \ufffd c 🙂."]
    assert source.counts.broken_lines == 1
    assert_all_bytes_are_accounted_for(source)


def test_broken_strings_in_tables_name_the_row(tmp_path):
    broken = pa.array([b"Fine.", b"Caf\xe9."], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": broken}), tmp_path / "a.parquet")
    assert "row 2: broken UTF-8" in problem_of(tmp_path / "a.parquet")[0]
    assert read(tmp_path / "a.parquet", replace_broken=True) == ["Fine.", "Caf\ufffd."]


def test_max_bytes_stops_at_a_word(tmp_path):
    path = write(tmp_path / "a.txt", "First of all.\n\nThe second one is longer.\n\nThird.\n")
    assert read(path, max_bytes=27) == ["First of all.", "The second one"]
    assert read(path, max_bytes=13) == ["First of all."]
    assert len(read(path, max_bytes=1000)) == 3
    source = source_of(path, max_bytes=20)
    assert sum(map(len, source.documents())) <= 20
    assert_all_bytes_are_accounted_for(source)


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_long_documents_are_cut_at_line_ends_or_words_and_counted(tmp_path, kind):
    long_lines = "\n".join(f"This is line {number} of the book." for number in range(20))
    long_words = " ".join(f"word{number}" for number in range(60))
    content = TEXT_KINDS[kind](["Short.", long_lines, "Short, too.", long_words])
    limits = Limits(max_document_bytes=100)
    source = source_of(write(tmp_path / f"a{kind}", content), limits=limits)
    documents = documents_of(source)
    assert " ".join(documents).split() == f"Short. {long_lines} Short, too. {long_words}".split()
    assert all(len(document) <= 100 for document in documents)
    assert documents[1].endswith("of the book.")
    assert source.counts.split_documents == 2
    assert source.counts.bytes_read == len(content)
    assert_all_bytes_are_accounted_for(source)


@given(st.text(min_size=1), st.integers(4, 40))
def test_cuts_keep_characters_whole(text, limit):
    rest = text.encode()
    parts = []
    while rest:
        position = cut_position(rest, limit)
        assert 0 < position <= limit
        parts.append(rest[:position].decode())
        rest = rest[position:]
    assert "".join(parts) == text


def test_a_line_that_never_ends_needs_little_memory(tmp_path):
    path = tmp_path / "line.txt.gz"
    block = b"a few words that go on and on " * 4096
    with gzip.open(path, "wb", compresslevel=1) as out:
        for _ in range(30 * 2**20 // len(block)):
            out.write(block)
    source = source_of(path, limits=Limits(max_document_bytes=1 << 20))
    tracemalloc.start()
    try:
        count = sum(1 for _ in source.documents())
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count >= 29
    assert source.counts.split_documents == 1
    assert peak_bytes < 10 << 20
    assert_all_bytes_are_accounted_for(source)


def test_a_record_without_an_end_is_an_error(tmp_path):
    limits = Limits(max_record_bytes=1000)
    path = write(tmp_path / "a.jsonl", json_lines(["One.", "word " * 300]))
    assert "line 2: longer than" in problem_of(path, limits=limits)[0]


def test_a_missing_file_is_named_with_what_is_there_instead(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "corpus/wiki.txt", "Text.")
    assert problem_of("corpus/wki.txt") == (
        "no such file: corpus/wki.txt",
        "did you mean corpus/wiki.txt?",
    )
    assert "there is no folder" in problem_of(tmp_path / "nowhere/a.txt")[1]
    assert "Hugging Face" in problem_of("xyz.pdf")[1]
    assert "no such file: squad" in problem_of("corpus", "squad")[0]


def test_empty_and_unknown_files_are_refused(tmp_path):
    assert "is empty" in problem_of(write(tmp_path / "a.txt", ""))[0]
    assert "is empty" in problem_of(write(tmp_path / "a.txt.zst", zstd(b"")))[0]
    assert "is empty" in problem_of(write(tmp_path / "a.csv", ""))[0]
    problem, hint = problem_of(write(tmp_path / "a.pdf", "%PDF"))
    assert "unknown ending" in problem
    assert ".parquet" in hint
    assert "unknown ending" in problem_of(write(tmp_path / "a.parquet.gz", "x"))[0]


def test_sources_without_any_document_are_refused(tmp_path):
    assert "no document in a" in problem_of(write(tmp_path / "a.txt", " \n\n \n"))[0]
    assert "no document in b" in problem_of(write(tmp_path / "b.csv", "id,text\n"))[0]
    assert "no usable file" in problem_of(tmp_path / "*.parquet")[0]
    (tmp_path / "hollow").mkdir()
    assert "no usable file" in problem_of(tmp_path / "hollow")[0]


def test_binary_files_are_refused_at_once(tmp_path):
    program = Path(sys.executable).resolve().read_bytes()[:200_000]
    for content in (program, bytes(1000), gzip.compress(os.urandom(5000))):
        path = write(tmp_path / "a.txt", content)
        with pytest.raises(DataError, match="binary"):
            source_of(path, replace_broken=True)
    path = write(tmp_path / "b.txt", "Text of Windows.".encode("utf-16"))
    problem, hint = problem_of(path)
    assert problem == f"{path} is UTF-16, not UTF-8"
    assert hint == f"UTF-16 fits it: iconv -f UTF-16 -t UTF-8 {path} > {tmp_path / 'b-utf8.txt'}"


@pytest.mark.parametrize("compression", [".gz", ".xz", ".zst"])
def test_damaged_compressed_files_are_named(tmp_path, compression):
    lines = b"".join(b"line %d of a longer text\n" % number for number in range(40_000))
    whole = COMPRESS[compression](lines)
    for content in (whole[: len(whole) // 2], b"this was never compressed " * 9):
        path = write(tmp_path / f"a.txt{compression}", content)
        assert f"{path} is damaged" in problem_of(path)[0]


def test_damaged_tables_are_named(tmp_path):
    for kind, content in TABLE_KINDS:
        whole = content(DOCUMENTS * 100)
        for damaged in (whole[: len(whole) // 2], b"no table at all"):
            path = write(tmp_path / f"a{kind}", damaged)
            assert f"{path} is damaged" in problem_of(path)[0]


def test_a_file_that_went_away_is_named(tmp_path):
    path = write(tmp_path / "a.txt", "Text.")
    source = source_of(path)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read: No such file"):
        documents_of(source)


def test_the_fingerprint_follows_files_and_options(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "a.txt", "Text.")
    first = source_of(path).fingerprint()
    assert source_of("./a.txt").fingerprint() == first
    assert source_of(path, max_bytes=3).fingerprint() != first
    os.utime(path, ns=(1, 1))
    second = source_of(path).fingerprint()
    write(tmp_path / "b.txt", "Text.")
    third = source_of(path, tmp_path / "b.txt").fingerprint()
    assert len({first, second, third}) == 3


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A Hub without a network: `rows` and `error` decide what it answers, `asked` records it."""
    import datasets
    from huggingface_hub import HfApi

    fake = SimpleNamespace(rows=[{"text": "One."}], error=None, asked=None)

    def load_dataset(*args: object, **options: object) -> datasets.IterableDataset:
        fake.asked = (args, options)
        if fake.error:
            raise fake.error
        return datasets.IterableDataset.from_generator(lambda: iter(fake.rows))

    monkeypatch.setattr(HfApi, "dataset_info", lambda *_, **__: SimpleNamespace(sha="abc"))
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return fake


def test_a_dataset_id_is_streamed(hub):
    hub.rows = [{"text": " One. ", "id": 1}, {"text": None, "id": 2}, {"text": "Zwei é."}]
    source = source_of("owner/some-name", subset="small", split="test")
    assert documents_of(source) == documents_of(source) == ["One.", "Zwei é."]
    assert hub.asked == (
        ("owner/some-name", "small"),
        {"split": "test", "streaming": True, "revision": "abc"},
    )
    assert source.name == "some-name"
    assert source.total_bytes() is None
    assert source.counts.empty_documents == 1
    assert_all_bytes_are_accounted_for(source)


def test_a_dataset_is_checked_at_once(hub):
    assert "owner/name: no column body" in problem_of("owner/name", column="body")[0]
    hub.rows = [{"text": 1}]
    assert "column text holds int" in problem_of("owner/name")[0]
    hub.rows = [{"text": "a \ud800 b"}]
    assert "row 1: half a character" in problem_of("owner/name")[0]
    hub.error = ValueError("Bad split: trian.\n Available splits: ['train']")
    problem, hint = problem_of("owner/name", split="trian")
    assert problem == "dataset owner/name: Bad split: trian. Available splits: ['train']"
    assert "--split" in hint
    hub.error = ConnectionError("gone")
    assert problem_of("owner/name")[0] == "reading dataset owner/name failed: gone"


def test_an_unknown_dataset_is_told_from_an_unreachable_hub(tmp_path, monkeypatch):
    from huggingface_hub import HfApi
    from huggingface_hub.errors import OfflineModeIsEnabled, RepositoryNotFoundError
    from huggingface_hub.utils import httpx

    monkeypatch.chdir(tmp_path)
    write(tmp_path / "corpora/a.txt", "Text.")
    response = httpx.Response(404, request=httpx.Request("GET", "https://example.org"))
    for error, expected in (
        (
            RepositoryNotFoundError("404", response=response),
            "there is no file and no Hugging Face dataset",
        ),
        (OfflineModeIsEnabled("offline"), "Hub cannot be reached (offline)"),
        (httpx.ConnectError("no network"), "Hub cannot be reached (no network)"),
    ):

        def fail(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(HfApi, "dataset_info", fail)
        assert expected in problem_of("owner/name")[0]
        assert problem_of("corpora1") == (
            problem_of("corpora1")[0],
            "did you mean corpora?",
        )


def test_importing_sources_loads_no_heavy_package():
    code = (
        "import sys, electra_cli.preparing.sources;"
        "heavy = {'datasets', 'pyarrow', 'torch', 'numpy', 'huggingface_hub'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
