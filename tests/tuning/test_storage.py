"""A study's storage that another process has locked: the wait is announced, and it ends."""

import sqlite3
import threading
import time

import optuna
import pytest

from electra_cli.errors import RunError
from electra_cli.tuning import storage


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [2, 60])
def test_a_locked_database_is_waited_for_aloud(tmp_path, monkeypatch, capfd, seconds):
    """In vain for 2 seconds; and for 60 at most, but the other process is done after 3."""
    monkeypatch.setattr(storage, "_SQLITE_TIMEOUT_SECONDS", seconds)
    path = tmp_path / "study.db"
    url = f"sqlite:///{path}"
    storage.open_storage(url)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    if seconds == 2:
        with pytest.raises(RunError, match=r"cannot be opened: .*database is locked") as raised:
            storage.open_storage(url)
        assert "until the other process is done" in raised.value.hint
        assert time.monotonic() - began < 20
    else:
        threading.Timer(3, other.rollback).start()
        storage.open_storage(url)
    waiting = "waiting for the study's database, which another process has locked, for up to 60 s"
    assert waiting in capfd.readouterr().err
    other.close()


@pytest.mark.slow
def test_a_journal_that_is_being_written_is_waited_for_aloud(tmp_path, capfd):
    path = tmp_path / "study.journal"
    lock = tmp_path / "study.journal.lock"
    lock.symlink_to(path)  # what a writer makes, and removes when it is done
    threading.Timer(3, lock.unlink).start()
    optuna.create_study(storage=storage.open_storage(str(path)))
    assert f"waiting for {path}, which another process is writing" in capfd.readouterr().err
