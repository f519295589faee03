"""Errors of the system, told as errors that a user can fix."""

import errno
import os
from pathlib import Path

import pytest

from electra_cli.errors import DiskFullError, RunError
from electra_cli.run_directory import RunDirectory
from electra_cli.run_events import read_events
from electra_cli.runs.write_errors import explain_write_errors, record_event


def system_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("raised", "is_full"),
    [
        (system_error(errno.ENOSPC), True),
        (system_error(errno.EIO), False),
        (RuntimeError("of a library in Rust (os error 28)"), True),
    ],
)
def test_a_full_disk_is_told_apart_from_a_broken_one(raised, is_full):
    with (
        pytest.raises(RunError, match="place could not be written: ") as told,
        explain_write_errors(Path("place")),
    ):
        raise raised
    assert isinstance(told.value, DiskFullError) == is_full
    assert told.value.__cause__ is raised


def test_other_errors_stay_what_they_are():
    with pytest.raises(ValueError, match="a bug"), explain_write_errors(Path("place")):
        raise ValueError("a bug")


def test_an_event_is_kept_where_there_is_room(tmp_path):
    run = RunDirectory(tmp_path)
    record_event(run, 3, "warning", "what happened", "key")
    assert [(e.step, e.text, e.key) for e in read_events(run.events)] == [
        (3, "what happened", "key")
    ]
    record_event(RunDirectory(tmp_path / "nowhere"), 3, "warning", "lost")  # is no error
