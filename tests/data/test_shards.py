"""Shards and their manifest: what goes in comes out, and damage is found and named."""

import json
import random
import time
from pathlib import Path

import datasets
import numpy as np
import pytest

from electra_cli.data.manifest import (
    FORMAT_VERSION,
    MANIFEST_NAME,
    PROGRESS_NAME,
    PrepareSettings,
    ShardManifest,
    ShardRecord,
    count_split,
    load_manifest,
    save_manifest,
)
from electra_cli.data.report import PreparationReport
from electra_cli.data.shards import ShardWriter, TokenShards, open_shards, verify_shards
from electra_cli.errors import DataError

REPORT = PreparationReport(
    files=1, bytes_read=9, separator_bytes=0, replacement_bytes=0, empty_documents=0,
    split_documents=0, broken_lines=0, documents=1, kept_bytes=9, duplicates=0, duplicate_bytes=0,
    too_short=0, too_short_bytes=0, num_tokens=9, unknown_fraction=0.0, tokens_per_word=1.0,
    median_length=9, p95_length=9, longest=9,
)  # fmt: skip
SETTINGS = PrepareSettings(
    source="abc", tokenizer=None, vocab_size=100, cased=False, validation_fraction=0.1,
    shard_tokens=1_000,
)  # fmt: skip


def make_documents(dtype: type, seed: int = 0) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    highest = 30_000 if dtype is np.uint16 else 100_000
    return [draw.integers(0, highest, draw.integers(4, 90)).astype(dtype) for _ in range(200)]


def write_shards(directory: Path, documents: list[np.ndarray], split="train") -> list[ShardRecord]:
    """Three shards of one split, each added to in two parts, with others that are not chosen."""
    other = np.zeros(5, dtype=documents[0].dtype)
    writer = ShardWriter(directory, split, index=0)
    records = []
    for number, part in enumerate(np.array_split(np.arange(len(documents)), 6)):
        # Runs of 1, 2 and 3 documents between the others, which stand at both ends, too.
        numbers = np.insert(part, [0, 1, 3, 6, 6, len(part)], -1)
        chosen = numbers >= 0
        texts = [documents[i] if i >= 0 else other for i in numbers]
        lengths = np.array([len(one) for one in texts])
        writer.add(np.concatenate(texts), lengths, numbers.astype(np.uint64) + 2**63, chosen)
        if number % 2:
            records.append(writer.write())
            writer = writer.following()
    return records


def make_manifest(shards: list[ShardRecord]) -> ShardManifest:
    documents, tokens = count_split(shards, "train")
    held_out_documents, held_out_tokens = count_split(shards, "validation")
    return ShardManifest(
        format_version=FORMAT_VERSION,
        tokenizer_sha256="0" * 64,
        vocab_size=100_000,
        num_documents=documents,
        num_tokens=tokens,
        num_validation_documents=held_out_documents,
        num_validation_tokens=held_out_tokens,
        unigram_entropy=1.5,
        source_name="test",
        settings=SETTINGS,
        shards=tuple(shards),
        report=REPORT,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shards = write_shards(tmp_path, make_documents(np.uint16))
    shards += write_shards(tmp_path, make_documents(np.uint16, seed=1)[:50], "validation")
    save_manifest(tmp_path, make_manifest(shards))
    return tmp_path


def opened(folder: Path, split="train") -> TokenShards:
    return open_shards(folder, load_manifest(folder), split)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_what_is_written_is_read_again(tmp_path: Path, dtype: type):
    documents = make_documents(dtype)
    records = write_shards(tmp_path, documents)
    names = [record.name for record in records]
    assert names == ["train-00000.arrow", "train-00001.arrow", "train-00002.arrow"]
    shards = open_shards(tmp_path, make_manifest(records), "train")
    assert shards.num_documents == len(documents)
    assert shards.num_tokens == sum(map(len, documents))
    assert shards.offsets.dtype == np.int64
    assert shards.offsets.tolist() == np.cumsum([0, *map(len, documents)]).tolist()
    for document, (start, stop) in zip(
        documents, zip(shards.offsets, shards.offsets[1:], strict=False), strict=True
    ):
        read = shards.read(start, stop)
        assert read.dtype == dtype
        assert not read.flags.owndata
        assert read.tolist() == document.tolist()
        assert shards.read(start + 1, stop - 1).tolist() == document[1:-1].tolist()


def test_gather_is_reading_one_range_after_the_other(folder: Path):
    shards = opened(folder)
    draw = np.random.default_rng(2)
    document = draw.integers(0, shards.num_documents, 300)
    starts = shards.offsets[document] + draw.integers(0, 3, 300)
    lengths = shards.offsets[document + 1] - starts
    lengths[::7] = 0
    gathered = shards.gather(starts, lengths)
    assert gathered.dtype == np.int64
    expected = [
        shards.read(s, s + n) for s, n in zip(starts.tolist(), lengths.tolist(), strict=True)
    ]
    assert gathered.tolist() == np.concatenate(expected).tolist()
    assert shards.gather(starts[:0], lengths[:0]).tolist() == []
    end = np.array([shards.num_tokens])
    assert shards.gather(end, np.array([0])).tolist() == []


def test_gather_is_fast_enough_for_any_gpu():
    draw = np.random.default_rng(3)
    tokens = [draw.integers(0, 30_000, 500_000).astype(np.uint16) for _ in range(20)]
    shards = TokenShards([(part, np.array([0, len(part)], dtype=np.int32)) for part in tokens])
    starts = draw.integers(0, shards.num_tokens // 128, (50, 128)) * 128
    starts = np.where(starts % 500_000 > 499_800, 0, starts)
    lengths = np.full(128, 128)
    began = time.process_time()
    for row in starts:
        shards.gather(row, lengths)
    assert starts.size * 128 / (time.process_time() - began) > 2e6


def test_tokens_are_counted_over_all_shards(folder: Path):
    expected = np.bincount(np.concatenate(make_documents(np.uint16)), minlength=30_000)
    assert opened(folder).count_ids(30_000).tolist() == expected.tolist()


def test_datasets_opens_every_shard(folder: Path):
    documents = make_documents(np.uint16)
    first = datasets.Dataset.from_file(str(folder / "train-00000.arrow"))
    assert set(first.column_names) == {"input_ids", "text_hash"}
    assert first[3]["input_ids"] == documents[3].tolist()
    assert first[3]["text_hash"] == 2**63 + 3
    assert first.features["input_ids"].feature.dtype == "uint16"
    loaded = datasets.load_dataset(
        "arrow",
        data_files={s: str(folder / f"{s}-*.arrow") for s in ("train", "validation")},
        cache_dir=str(folder / "cache"),
    )
    assert loaded["train"].num_rows == 200
    assert loaded["validation"].num_rows == 50
    assert loaded["train"][199]["input_ids"] == documents[199].tolist()


def test_an_empty_split_has_no_documents(tmp_path: Path):
    records = write_shards(tmp_path, make_documents(np.uint16))
    shards = open_shards(tmp_path, make_manifest(records), "validation")
    assert (shards.num_documents, shards.num_tokens) == (0, 0)
    assert shards.offsets.tolist() == [0]


def test_nothing_added_writes_nothing(tmp_path: Path):
    assert ShardWriter(tmp_path, "validation", index=0).write() is None
    assert list(tmp_path.iterdir()) == []


def test_no_partial_file_is_left(folder: Path):
    assert not list(folder.glob("*.partial"))


def test_a_manifest_is_loaded_as_it_was_saved(folder: Path):
    manifest = load_manifest(folder)
    assert manifest.num_documents == 200
    assert manifest.num_validation_documents == 50
    assert manifest.unigram_entropy == 1.5
    assert manifest.report == REPORT
    save_manifest(folder, manifest)
    assert load_manifest(folder) == manifest


def test_what_is_no_finished_folder_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="there is no folder"):
        load_manifest(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is not a prepared folder"):
        load_manifest(tmp_path)
    (tmp_path / PROGRESS_NAME).write_text("{}")
    with pytest.raises(DataError, match="unfinished") as caught:
        load_manifest(tmp_path)
    assert "electra prepare" in caught.value.hint


def change(folder: Path, **values: object) -> None:
    path = folder / MANIFEST_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_newer_format_is_refused(folder: Path):
    change(folder, format_version=FORMAT_VERSION + 1, something_new=1)
    with pytest.raises(DataError, match="format 2") as caught:
        load_manifest(folder)
    assert "newer" in caught.value.hint


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"format_version": "x"}'])
def test_a_damaged_manifest_is_refused(folder: Path, text: str):
    (folder / MANIFEST_NAME).write_text(text)
    with pytest.raises(DataError, match=r"manifest\.json is damaged"):
        load_manifest(folder)


def test_counts_that_do_not_add_up_are_damage(folder: Path):
    change(folder, num_tokens=1)
    with pytest.raises(DataError, match=r"manifest\.json is damaged"):
        load_manifest(folder)


@pytest.mark.parametrize(
    "name", ["../x", "../train-00000.arrow", "/etc/passwd", "a/train-00000.arrow"]
)
def test_a_manifest_never_points_outside_its_folder(folder: Path, name: str):
    shards = json.loads((folder / MANIFEST_NAME).read_text())["shards"]
    shards[0]["name"] = name
    change(folder, shards=shards)
    with pytest.raises(DataError, match=r"manifest\.json is damaged: shards\.0\.name"):
        load_manifest(folder)


def test_a_missing_shard_is_named(folder: Path):
    (folder / "train-00001.arrow").unlink()
    with pytest.raises(DataError, match=r"train-00001\.arrow is damaged: it is missing"):
        opened(folder)
    assert opened(folder, "validation").num_documents == 50


def test_a_shard_cut_short_is_named(folder: Path):
    path = folder / "train-00002.arrow"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"train-00002\.arrow is damaged: it has"):
        opened(folder)


@pytest.mark.parametrize("place", [0, 30, 200])
def test_a_broken_header_is_named(folder: Path, place: int):
    path = folder / "train-00000.arrow"
    content = bytearray(path.read_bytes())
    content[place : place + 60] = b"\x00" * 60
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"train-00000\.arrow is damaged"):
        opened(folder)
        verify_shards(folder, load_manifest(folder).shards)


def test_one_changed_byte_is_found_by_verification(folder: Path):
    manifest = load_manifest(folder)
    verify_shards(folder, manifest.shards)
    path = folder / "validation-00001.arrow"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"validation-00001\.arrow is damaged: its checksum"):
        verify_shards(folder, manifest.shards)


@pytest.mark.parametrize("seed", range(4))
def test_a_shard_with_flipped_bits_is_found_and_never_read_outside_its_file(folder, seed):
    path = folder / "train-00000.arrow"
    whole = path.read_bytes()
    manifest = load_manifest(folder)
    draw = random.Random(seed)
    for _ in range(100):
        content = bytearray(whole)
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"train-00000\.arrow is damaged"):
            tokens = open_shards(folder, manifest, "train")
            tokens.gather(tokens.offsets[:-1], np.diff(tokens.offsets))
            verify_shards(folder, manifest.shards)


def test_a_shard_that_is_a_link_out_of_the_folder_is_refused(folder, tmp_path_factory):
    path = folder / "train-00000.arrow"
    outside = tmp_path_factory.mktemp("outside") / "elsewhere.arrow"
    path.rename(outside)
    path.symlink_to(outside)
    manifest = load_manifest(folder)
    with pytest.raises(DataError, match="a link to outside of the folder"):
        open_shards(folder, manifest, "train")
    with pytest.raises(DataError, match="a link to outside of the folder"):
        verify_shards(folder, manifest.shards)


@pytest.mark.parametrize("version", ["1e999", "NaN", "[" * 100_000, '"\\ud800"', "null"])
def test_a_manifest_with_an_impossible_version_is_damaged(folder, version):
    (folder / "manifest.json").write_text(f'{{"format_version": {version}}}')
    with pytest.raises(DataError, match="damaged"):
        load_manifest(folder)


def test_ids_are_counted_before_they_are_written(tmp_path):
    documents = make_documents(np.uint16)
    writer = ShardWriter(tmp_path, "train", 0)
    lengths = np.array([len(one) for one in documents])
    every = np.ones(len(documents), dtype=bool)
    writer.add(
        np.concatenate(documents), lengths, np.arange(len(documents), dtype=np.uint64), every
    )
    counted = writer.count_ids(30_000)
    assert np.array_equal(counted, np.bincount(np.concatenate(documents), minlength=30_000))
    writer.write()


@pytest.mark.parametrize("field", ["num_documents", "num_tokens", "num_bytes"])
def test_a_record_of_nothing_is_refused(field):
    record = {
        "name": "train-00000.arrow", "split": "train", "num_documents": 1, "num_tokens": 1,
        "num_bytes": 1, "sha256": "ab",
    }  # fmt: skip
    ShardRecord.model_validate(record)
    with pytest.raises(ValueError, match=field):
        ShardRecord.model_validate({**record, field: 0})


def test_documents_that_are_neither_duplicates_nor_too_short_are_kept():
    counts = {"documents": 9, "duplicates": 2, "too_short": 3}
    assert REPORT.model_copy(update=counts).kept_documents == 4


def test_what_was_read_cannot_be_changed(tmp_path):
    for read in (SETTINGS, REPORT):
        with pytest.raises(ValueError, match="frozen"):
            setattr(read, next(iter(type(read).model_fields)), 1)
