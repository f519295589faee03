"""One process at a time, however the one before it ended."""

import errno
import fcntl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from electra_cli.errors import RunError
from electra_cli.locks import hold, hold_run, try_to_hold, wait_for
from electra_cli.run_directory import RunDirectory

HOLDS = """
import os, sys, time
from pathlib import Path
from electra_cli.locks import wait_for
with wait_for(Path(sys.argv[1])):
    is_child = "fork" in sys.argv and os.fork() == 0
    if is_child or "fork" not in sys.argv:  # filelock closes the child's copy as the child starts
        print("held", flush=True)
    if is_child:
        os.close(1)
    time.sleep(float(sys.argv[2]))
"""


@contextmanager
def other_process(path: Path, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """It holds the lock for so many seconds, or until it is killed."""
    command = [sys.executable, "-c", HOLDS, str(path), *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def refuse(owner: str) -> RunError:
    return RunError(owner, hint="wait")


def is_free(path: Path) -> bool:
    with try_to_hold(path) as was_free:
        return was_free


def test_who_holds_a_lock_is_named_and_a_kill_frees_it_at_once(tmp_path):
    run = RunDirectory(tmp_path)
    with other_process(run.lock, 60) as owner:
        expected = rf"{tmp_path} is in use by process {owner.pid} on \S+ since 20\d\d-\d\d-\d\d "
        with pytest.raises(RunError, match=expected):
            hold_run(run)
        assert not is_free(run.lock)
        owner.kill()
        owner.wait()
        with hold_run(run):
            assert not is_free(run.lock)
        assert is_free(run.lock)


def test_a_child_that_outlives_its_killed_parent_does_not_hold_on(tmp_path):
    with other_process(tmp_path / "lock", 5, "fork") as owner:
        assert not is_free(tmp_path / "lock")
        owner.kill()
        owner.wait()
        assert is_free(tmp_path / "lock")


def test_a_shorter_name_leaves_nothing_of_the_longer_one_before(tmp_path):
    path = tmp_path / "lock"
    path.write_text("x" * 1_000)
    with hold(path, refuse), pytest.raises(RunError) as raised:
        hold(path, refuse)
    assert "x" not in str(raised.value)


def test_waiting_ends_when_the_lock_is_free(tmp_path):
    path = tmp_path / "lock"
    with other_process(path, 0.5), wait_for(path):
        assert not is_free(path)


def test_what_is_locked_may_be_renamed(tmp_path):
    (tmp_path / "partial").mkdir()
    with wait_for(tmp_path / "partial" / "lock"):
        (tmp_path / "partial").rename(tmp_path / "whole")
        assert not is_free(tmp_path / "whole" / "lock")
    assert is_free(tmp_path / "whole" / "lock")


def test_a_lock_whose_owner_removes_it_is_not_held_twice(tmp_path):
    """As `electra prepare` does at its end: a file that was opened before is not the lock."""
    path = tmp_path / "lock"
    deadline = time.monotonic() + 1

    def hold_and_remove() -> int:
        count = 0
        while time.monotonic() < deadline:
            with suppress(RunError), hold(path, refuse):
                path.unlink()  # raises if another one has removed it
                count += 1
        return count

    with ThreadPoolExecutor(4) as pool:
        counts = [pool.submit(hold_and_remove) for _ in range(4)]
    assert sum(count.result() for count in counts) > 10


def test_without_locks_on_the_file_system_a_run_goes_on_with_a_warning(
    tmp_path, monkeypatch, capsys
):
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    entered = []
    with hold_run(RunDirectory(tmp_path)):
        entered.append("hold")
    shown = capsys.readouterr().err
    assert "cannot be locked: its file system has no locks" in " ".join(shown.split())
    assert "make sure no other process uses this folder" in shown
    with wait_for(tmp_path / "lock"):
        entered.append("wait")
    assert not is_free(tmp_path / "lock")  # nobody knows
    assert entered == ["hold", "wait"]
    assert capsys.readouterr().err == ""


def test_an_error_inside_is_the_callers_own(tmp_path):
    with pytest.raises(OSError, match="mine"), hold_run(RunDirectory(tmp_path)):
        raise OSError(errno.EACCES, "mine")
    assert is_free(RunDirectory(tmp_path).lock)


@pytest.mark.slow
def test_a_wait_says_what_it_is_for(tmp_path, capfd):
    path = tmp_path / "lock"
    with other_process(path, 4) as owner, wait_for(path):
        pass
    assert f"waiting until process {owner.pid} on " in capfd.readouterr().err
