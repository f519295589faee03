"""Shards are compared with their checksums once, and again when a file has changed."""

import os
import shutil
from pathlib import Path

import pytest

from electra_cli.data import verified
from electra_cli.data.manifest import load_manifest
from electra_cli.data.verified import verify_changed_shards
from electra_cli.errors import DataError


@pytest.fixture
def folder(tmp_path, prepared, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(shutil.copytree(prepared, tmp_path / "data"))


@pytest.fixture
def read_shards(monkeypatch) -> list[str]:
    """Names of the shards whose content was read."""
    names: list[str] = []
    verify = verified.verify_shards

    def note(directory, shards):
        names.extend(shard.name for shard in shards)
        verify(directory, shards)

    monkeypatch.setattr(verified, "verify_shards", note)
    return names


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_shards_are_read_once_and_all_when_asked(folder, read_shards):
    manifest = load_manifest(folder)
    names = [shard.name for shard in manifest.shards]
    verify_changed_shards(folder, manifest)
    verify_changed_shards(folder, manifest)
    assert read_shards == names
    verify_changed_shards(folder, manifest, read_all=True)
    assert read_shards == 2 * names


def test_a_changed_file_is_noticed_though_size_and_time_are_as_before(folder, read_shards):
    manifest = load_manifest(folder)
    verify_changed_shards(folder, manifest)
    read_shards.clear()
    path = folder / manifest.shards[0].name
    before = path.stat()
    flip_a_bit(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    for _ in range(2):  # damage is not remembered as verified
        with pytest.raises(DataError, match=rf"{path.name} is damaged: its checksum differs"):
            verify_changed_shards(folder, manifest)
    assert read_shards == 2 * [path.name]


def test_a_copy_is_read_again(folder, tmp_path, read_shards):
    manifest = load_manifest(folder)
    verify_changed_shards(folder, manifest)
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved)  # with its times
    flip_a_bit(moved / manifest.shards[0].name)
    with pytest.raises(DataError, match="is damaged"):
        verify_changed_shards(moved, manifest)


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"train-00000.arrow": 3}', b"\xff"])
def test_a_damaged_memory_means_reading_again(folder, read_shards, content, tmp_path):
    manifest = load_manifest(folder)
    verify_changed_shards(folder, manifest)
    [memory] = (tmp_path / "cache" / "electra" / "verified").iterdir()
    memory.write_bytes(content)
    read_shards.clear()
    verify_changed_shards(folder, manifest)
    assert len(read_shards) == len(manifest.shards)


def test_without_a_cache_folder_all_is_read_each_time(folder, read_shards, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    manifest = load_manifest(folder)
    for _ in range(2):
        verify_changed_shards(folder, manifest)
    assert len(read_shards) == 2 * len(manifest.shards)
