import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from electra_cli.stopping import stop_request

CHILD = """
import atexit, time
from electra_cli import cli
from electra_cli.stopping import stop_request, wait_for

def command(args):
    with stop_request() as stop:
        print("waiting")
        stop.reason = "SIGINT"
        wait_for(lambda: time.sleep(SECONDS), stop)

atexit.register(print, "taken apart")
cli.app = command
cli.main([])
"""


def ended(seconds: float) -> tuple[int, str]:
    """Exit code and output of a process that is asked to stop while it waits."""
    code = CHILD.replace("SECONDS", str(seconds))
    child = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=30
    )
    assert child.stderr == ""
    return child.returncode, child.stdout


def test_the_interpreter_is_not_taken_apart_under_a_library_that_still_computes():
    assert ended(3_600) == (130, "waiting\n")


def test_work_that_ended_meanwhile_is_no_reason_to_hurry():
    assert ended(0) == (0, "waiting\ntaken apart\n")


ONE_OF_SEVERAL = """
import atexit, sys
from electra_cli import cli
from electra_cli.errors import UserError

def command(args):
    print("works")
    raise ERROR

atexit.register(print, "taken apart")
cli.app = command
cli.main([])
"""


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        ("SystemExit", 0, ""),
        ("SystemExit(130)", 130, ""),
        ("KeyboardInterrupt", 130, ""),
        ("UserError('bad', 'mend it')", 1, "error: bad"),
        ("ValueError('a bug')", 1, "ValueError: a bug"),
    ],
)
def test_one_of_several_processes_exits_at_once_and_says_the_same(error, code, said):
    """With torch, interpreter shutdown takes seconds, and the other processes wait for it."""
    child = subprocess.run(
        [sys.executable, "-c", ONE_OF_SEVERAL.replace("ERROR", error)],
        env={**os.environ, "RANK": "1"}, check=False, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert (child.returncode, child.stdout) == (code, "works\n")
    assert said in child.stderr
    assert child.stderr.count("Traceback") == ("bug" in error)


STOPPING = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP]


@pytest.fixture(autouse=True)
def hears_hangups() -> Iterator[None]:
    """Tests may run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def test_a_hangup_that_is_ignored_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stop_request() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not stop.is_requested
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_is_a_request_and_the_usual_handlers_come_back(number):
    before = [signal.getsignal(each) for each in STOPPING]
    with stop_request() as outer, stop_request() as inner:
        assert not inner.is_requested
        os.kill(os.getpid(), number)
        if number != signal.SIGINT:
            os.kill(os.getpid(), number)  # schedulers may send it again: still only a request
        assert outer.is_requested
        assert inner.reason == number.name
        with pytest.raises(KeyboardInterrupt):
            inner.raise_if_requested()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL  # the next one ends at once
    after = [signal.getsignal(each) for each in STOPPING]
    assert after == before


def test_the_time_that_is_up_counts_on_a_clock_that_nobody_sets(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 0.0)
    with stop_request(max_minutes=0.2 / 60) as stop:
        assert not stop.is_requested
        time.sleep(0.25)
        assert stop.is_requested
        assert stop.reason.startswith("--max-minutes")
