import errno
import hashlib
import os
from pathlib import Path

import pytest

from electra_cli.disk import (
    as_os_error,
    replace_file,
    replace_folder,
    sha256_of,
    step_folder,
    steps_of_folders,
    sync_to_disk,
    write_bytes_atomically,
)


class Interrupted(BaseException):
    """As a kill that Python can see."""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_replaced_file_has_the_new_content_and_the_checksum_is_its_own(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a longer content than the new one")
    pieces = [b"x" * 300_000, b"", b"end"]
    sha256 = replace_file(path, lambda file: [file.write(piece) for piece in pieces])
    assert path.read_bytes() == b"".join(pieces)
    assert sha256 == hashlib.sha256(b"".join(pieces)).hexdigest() == sha256_of(path)
    assert names(tmp_path) == ["file"]


def test_bytes_are_written_whole(tmp_path):
    sha256 = write_bytes_atomically(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"
    assert sha256 == hashlib.sha256(b"content").hexdigest()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), Interrupted()])
def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path, error):
    (tmp_path / "file").write_bytes(b"old")

    def write(file: object) -> None:
        file.write(b"new")
        raise error

    with pytest.raises(type(error)):
        replace_file(tmp_path / "file", write)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write(file: object) -> None:
        file.write(b"new")
        assert path.read_bytes() == b"old"

    replace_file(path, write)
    assert path.read_bytes() == b"new"


def test_a_new_folder_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "made" / "folder"
    with replace_folder(path) as partial:
        (partial / "sub").mkdir()
        (partial / "sub" / "file").write_text("content")
        assert not path.exists()
    assert (path / "sub" / "file").read_text() == "content"
    assert names(path.parent) == ["folder"]


def test_a_folder_is_replaced_with_all_that_is_in_it(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()
    with replace_folder(path) as partial:
        (partial / "new").touch()
        assert names(path) == ["old"]
    assert names(path) == ["new"]
    assert names(tmp_path / "aside-folder") == ["old"]
    told: list[Path] = []
    for content in ("newer", "newest", "newest"):  # the last is no change
        with replace_folder(path, told.append) as partial:
            (partial / "new").write_text(content)
    assert told == [tmp_path / "aside-2-folder", tmp_path / "aside-3-folder"]
    assert (told[1] / "new").read_text() == "newer"
    assert names(tmp_path) == ["aside-2-folder", "aside-3-folder", "aside-folder", "folder"]


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_the_umask_decides_who_may_read_a_folder_s_files(tmp_path, umask):
    before = os.umask(umask)
    try:
        with replace_folder(tmp_path / "folder") as partial:
            (partial / "file").touch(mode=0o600)
    finally:
        os.umask(before)
    assert (tmp_path / "folder" / "file").stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), Interrupted()])
def test_a_folder_that_cannot_be_filled_leaves_the_old_one_alone(tmp_path, error):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(type(error)), replace_folder(path) as partial:
        (partial / "new").touch()
        raise error
    assert names(path) == ["old"]
    assert names(tmp_path) == ["folder"]


def test_the_old_folder_comes_back_where_the_new_one_cannot_have_its_name(tmp_path, monkeypatch):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()
    rename = Path.rename

    def fail(source: Path, target: Path) -> Path:
        if source.name == ".folder.partial":
            raise OSError(errno.EIO, "the disk")
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="the disk"), replace_folder(path) as partial:
        (partial / "new").touch()
    assert names(path) == ["old"]
    assert names(tmp_path) == ["folder"]


def test_what_a_killed_process_left_is_not_in_the_new_folder(tmp_path):
    (tmp_path / ".folder.partial").mkdir()
    (tmp_path / ".folder.partial" / "half").touch()
    with replace_folder(tmp_path / "folder") as partial:
        (partial / "new").touch()
    assert names(tmp_path / "folder") == ["new"]
    assert names(tmp_path) == ["folder"]


def test_every_file_of_a_folder_is_flushed_before_the_folder_has_its_name(tmp_path, monkeypatch):
    flushed = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        flushed.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    with replace_folder(tmp_path / "folder") as partial:
        (partial / "sub").mkdir()
        (partial / "sub" / "file").touch()
    inside = [partial / "sub", partial / "sub" / "file", partial]
    assert set(map(str, inside)) == set(flushed[:3])
    assert flushed[3:] == [str(tmp_path)]


def test_a_folder_that_cannot_be_flushed_is_no_error_but_a_file_is():
    with pytest.raises(OSError, match="Invalid argument"):  # so this file system has no such call
        sync_to_disk(Path("/proc/version"))
    sync_to_disk(Path("/proc"))


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_folder_whose_disk_fails_is_an_error(tmp_path, monkeypatch, number):
    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=os.strerror(number)):
        sync_to_disk(tmp_path)


def test_the_error_of_a_library_in_rust_is_the_systems():
    found = as_os_error(Exception("I/O error: No space left on device (os error 28)"))
    assert found is not None
    assert found.errno == errno.ENOSPC
    assert as_os_error(ValueError("header too large")) is None


def test_the_steps_of_checkpoints_are_those_of_whole_folders_ascending(tmp_path):
    for step in (20, 3, 123_456_789):
        step_folder(tmp_path, step).mkdir()
    for other in (".step-00000030.partial", "aside-step-00000040", "step-50", "notes"):
        (tmp_path / other).mkdir()
    assert steps_of_folders(tmp_path) == [3, 20, 123_456_789]
    assert step_folder(tmp_path, 3).name == "step-00000003"
    assert steps_of_folders(tmp_path / "none") == []
