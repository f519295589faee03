"""Corpora made of anything, in every format: what prepare reports is what a slow count finds."""

import csv
import gzip
import io
import itertools
import json
import lzma
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from electra_cli.commands.prepare import run
from electra_cli.data.manifest import ShardManifest, load_manifest
from electra_cli.data.shards import open_shards, verify_shards
from electra_cli.errors import DataError
from electra_cli.preparing.options import PrepareOptions
from electra_cli.preparing.rounds import MIN_DOCUMENT_TOKENS
from electra_cli.preparing.source import SourceOptions

WORDS = ["the", "house", "of", "a", "tree", "and", "runs"]

surrogates = st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF)
any_characters = st.text(
    st.characters() | surrogates | st.sampled_from("\0\x1c\x85\u2028\ufeff\r\t")
)
words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join)
documents = (
    words
    | any_characters
    | st.text("!?.,;:-()[]{}'\"", max_size=30)
    | st.text("אבגדהוזחטי ابتث \u200f\u202e", max_size=30)
    | st.text("😀👩\u200d💻🇩🇪❤\ufe0f ", max_size=20)
    | st.sampled_from(["", " ", "\n", "a", "[MASK]", "\0", "\ud800", "x" * 2_000, "水" * 500])
    | st.sampled_from(
        [" the house of a tree", "the house of a tree\t"]
    )  # duplicates, once stripped
    | st.tuples(words, any_characters, words).map(" ".join)
)
corpora = st.lists(documents, min_size=1, max_size=10)


@dataclass
class Corpus:
    """A file and the documents in it, found in the most obvious way."""

    content: bytes
    texts: list[str | None]  # as they are in the file
    num_bytes: int  # that count as input
    other_bytes: int = 0  # of columns that are not read


def escaped(text: str) -> bytes:
    """UTF-8, with lone surrogates as broken bytes."""
    return text.encode("utf-8", "surrogatepass")


def replaced(data: bytes) -> str:
    return data.decode("utf-8", "replace").replace("\0", "\ufffd")


def plain(texts: list[str]) -> Corpus:
    content = escaped("\n\n".join(texts))
    found: list[str | None] = []
    for line in replaced(content).removeprefix("\ufeff").replace("\r\n", "\n").split("\n"):
        if not line.strip():
            found.append(None)
        elif found and found[-1] is not None:
            found[-1] += f"\n{line}"
        else:
            found.append(line)
    return Corpus(content, [text for text in found if text is not None], len(content))


def json_lines(texts: list[str]) -> Corpus:
    rows = [json.dumps({"text": text, "id": 1}, ensure_ascii=len(text) % 2 == 0) for text in texts]
    content = escaped("\n".join(rows))
    read = [json.loads(replaced(escaped(row)))["text"] for row in rows]
    found = [re.sub("[\0\ud800-\udfff]", "\ufffd", text) for text in read]
    return Corpus(content, found, len(content), len(rows))


def comma_separated(texts: list[str]) -> Corpus:
    out = io.StringIO()
    csv.writer(out).writerows([["id", "text"], *([1, text] for text in texts)])
    content = escaped(out.getvalue())
    rows = list(csv.reader(io.StringIO(replaced(content), newline="")))
    return Corpus(content, [row[1] for row in rows[1:]], len(content), len(rows[1:]))


def table(texts: list[str], write) -> Corpus:
    raw = [escaped(text) or None for text in texts]
    column = pa.array(raw, pa.binary()).view(pa.string())  # with broken UTF-8, unchecked
    sink = pa.BufferOutputStream()
    write(pa.table({"text": column}), sink)
    return Corpus(
        sink.getvalue().to_pybytes(),
        ["" if data is None else replaced(data) for data in raw],
        sum(len(data or b"") for data in raw),
    )


def write_arrow(rows: pa.Table, sink: pa.BufferOutputStream) -> None:
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows, max_chunksize=3)


KINDS = {
    ".txt": plain,
    ".md": plain,
    ".jsonl": json_lines,
    ".csv": comma_separated,
    ".parquet": lambda texts: table(texts, pq.write_table),
    ".arrow": lambda texts: table(texts, write_arrow),
}
COMPRESSIONS = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: pa.compress(data, "zstd", asbytes=True),
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    corpus = folder / "c.txt"
    corpus.write_text("\n\n".join(" ".join(p) for p in itertools.permutations(WORDS, 4)))
    run(PrepareOptions(SourceOptions((str(corpus),)), folder / "out", vocab_size=200))
    return folder / "out" / "tokenizer"


def assert_report_is_the_slow_count(folder: Path, corpus: Corpus, tokenizer: Path) -> None:
    manifest: ShardManifest = load_manifest(folder)
    verify_shards(folder, manifest.shards)
    encode = AutoTokenizer.from_pretrained(tokenizer).encode
    kept: list[tuple[int, ...]] = []
    seen: set[str] = set()
    counted: Counter[str] = Counter()
    for text in corpus.texts:
        stripped = (text or "").strip()
        size = len(stripped.encode())
        ids = encode(stripped, add_special_tokens=False, split_special_tokens=True)
        if not stripped:
            counted["empty_documents"] += 1
            continue
        counted["documents"] += 1
        if stripped in seen:
            counted.update(duplicates=1, duplicate_bytes=size)
        elif len(ids) < MIN_DOCUMENT_TOKENS:
            counted.update(too_short=1, too_short_bytes=size)
        else:
            counted["kept_bytes"] += size
            kept.append(tuple(ids))
        seen.add(stripped)
    report = manifest.report
    names = (
        "documents empty_documents duplicates duplicate_bytes too_short too_short_bytes kept_bytes"
    )
    assert {name: getattr(report, name) for name in names.split()} == {
        name: counted[name] for name in names.split()
    }
    assert report.bytes_read == corpus.num_bytes
    assert report.bytes_read + report.replacement_bytes == (
        report.kept_bytes
        + report.duplicate_bytes
        + report.too_short_bytes
        + report.separator_bytes
        + report.other_column_bytes
    )
    assert report.separator_bytes >= 0
    assert report.other_column_bytes == corpus.other_bytes
    found = [
        tuple(shards.read(start, stop).tolist())
        for split in ("train", "validation")
        for shards in [open_shards(folder, manifest, split)]
        for start, stop in itertools.pairwise(shards.offsets.tolist())
    ]
    assert Counter(found) == Counter(kept)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(texts=corpora, compression=st.sampled_from(list(COMPRESSIONS)), has_kept=st.booleans())
def test_every_byte_of_any_corpus_is_kept_or_dropped_with_its_reason(
    tmp_path_factory, tokenizer, kind, texts, compression, has_kept
):
    folder = tmp_path_factory.mktemp("corpus")
    corpus = KINDS[kind]([*texts, "the house of a tree"] if has_kept else texts)
    is_table = kind in (".parquet", ".arrow")
    path = folder / f"a{kind}{'' if is_table else compression}"
    path.write_bytes(corpus.content if is_table else COMPRESSIONS[compression](corpus.content))
    options = PrepareOptions(
        SourceOptions((str(path),), replace_broken=True),
        folder / "out",
        tokenizer=str(tokenizer),
        validation_fraction=0.0,
    )
    try:
        run(options)
    except DataError as error:
        problem = str(error)
        assert "\n" not in problem
        assert (
            "left to train on" in problem
            or "no document" in problem
            or "binary" in problem
            or ("is empty" in problem and not corpus.content)
        )
        assert not has_kept or "binary" in problem
        return
    assert_report_is_the_slow_count(folder / "out", corpus, tokenizer)
