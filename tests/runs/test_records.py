"""Rows and checkpoints on a disk that is full for a while, by a logger that says so."""

import shutil

import pytest
from tiny_session import FullDisk, RecordingLogger, open_tiny

from electra_cli.errors import DiskFullError
from electra_cli.metrics import log_row
from electra_cli.runs.records import RunRecords


@pytest.fixture
def session(tmp_path, prepared):
    session = open_tiny(tmp_path, prepared, on_full_disk="continue")
    session.trainer.train_step(session.batches)
    yield session
    session.close()


def make_row(session):
    return log_row(session.trainer.flush(0.1), None)


def test_rows_wait_for_room_but_other_loggers_do_not(session, capsys):
    disk, other, row = FullDisk(), RecordingLogger(), make_row(session)
    object.__setattr__(session, "loggers", (disk,))
    records = RunRecords(session, [other])
    records.append_row(row)
    assert "no room for the row" in capsys.readouterr().err
    records.append_row(row)
    assert "no room for the row" not in capsys.readouterr().err  # said once
    assert (len(disk.rows), len(other.rows)) == (0, 2)
    records.save()  # no checkpoint is ahead of its log
    assert session.checkpoints.steps() == []
    with pytest.raises(DiskFullError):
        records.finish()
    disk.is_full = False
    session.run.log.touch()  # a checkpoint flushes it first
    records.finish()
    assert len(disk.rows) == 2
    assert session.checkpoints.load(1).state.log_rows == 2
    records.rewind(0)
    assert (disk.rewound, other.rewound, disk.rows) == ([0], [0], [])
    capsys.readouterr()
    disk.is_full = True
    records.append_row(row)
    assert "no room for the row" in capsys.readouterr().err  # said again


def test_rows_that_waited_are_written_at_the_end(session):
    disk, row = FullDisk(), make_row(session)
    object.__setattr__(session, "loggers", (disk,))
    records = RunRecords(session)
    records.save()
    records.append_row(row)
    assert disk.rows == []
    disk.is_full = False
    records.finish()
    assert disk.rows == [row]


def test_a_full_disk_stops_where_the_settings_say_so(tmp_path, prepared):
    session = open_tiny(tmp_path, prepared)
    session.trainer.train_step(session.batches)
    other = RecordingLogger()
    object.__setattr__(session, "loggers", (FullDisk(),))
    with pytest.raises(DiskFullError):
        RunRecords(session, [other]).append_row(make_row(session))
    assert other.rows == []
    session.close()


def test_the_last_checkpoint_is_saved_again_where_the_first_try_failed(session, monkeypatch):
    records = RunRecords(session)
    records.append_row(make_row(session))
    records.save()
    session.checkpoints.wait()
    shutil.rmtree(session.checkpoints.path_of(1))

    def fail() -> None:
        raise DiskFullError("no room for the checkpoint", hint="make room")

    with monkeypatch.context() as patch:
        patch.setattr(session.checkpoints, "check", fail)
        records.check_save()  # training goes on
    records.finish()
    assert session.checkpoints.steps() == [1]


def test_a_checkpoint_that_was_saved_is_not_saved_again(session):
    records = RunRecords(session)
    records.append_row(make_row(session))
    records.save()
    records.finish()
    file = session.checkpoints.path_of(1) / "state.json"
    written = file.stat().st_mtime_ns
    records.finish()
    assert file.stat().st_mtime_ns == written
    records.check_save()
    session.trainer.train_step(session.batches)
    records.finish()  # of a step that has no checkpoint yet
    assert session.checkpoints.steps() == [1, 2]
    assert session.run.read_log()["step"] == [1]
