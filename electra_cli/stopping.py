"""A stop request (signal or time limit), honoured at safe points.

An exception raised wherever the signal happens to arrive may be lost: Python drops it inside an
import, and torch's own code aborts the process on it. So a command asks, where it is safe to stop.
"""

import atexit
import ctypes
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn, TypeVar

EXIT_STOPPED = 130
LAUNCHER_PID = "ELECTRA_LAUNCHER_PID"  # in the environment of the processes that it starts
POLL_SECONDS = 0.2
# Schedulers send SIGUSR1 some time before the limit, and SIGTERM at it; a terminal that is closed
# sends SIGHUP.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1  # of Linux's prctl.h

Result = TypeVar("Result")


class StopRequest:
    """Whether the command was asked to stop, and by what."""

    def __init__(self, max_minutes: float | None = None) -> None:
        self.reason: str | None = None
        self._max_minutes = max_minutes
        self._started = time.monotonic()  # not the wall clock, which can be set

    @property
    def is_requested(self) -> bool:
        """A signal came, or the time is up."""
        minutes = (time.monotonic() - self._started) / 60
        if self.reason is None and self._max_minutes is not None and minutes >= self._max_minutes:
            self.reason = f"--max-minutes {self._max_minutes:g}"
        return self.reason is not None

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Signal handler: remember it. A SIGINT after any signal ends the process at once."""
        self.reason = self.reason or signal.Signals(number).name
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def raise_if_requested(self) -> None:
        """Raise KeyboardInterrupt (exit code 130, see cli.main) if a stop was asked for."""
        if self.is_requested:
            raise KeyboardInterrupt


def follow_launcher() -> None:
    """Ask for a stop when the launcher that started this process is killed: no orphan trains on."""
    launcher = os.environ.get(LAUNCHER_PID)
    if not sys.platform.startswith("linux") or not (
        launcher or "TORCHELASTIC_RUN_ID" in os.environ
    ):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if launcher and os.getppid() != int(launcher):  # it was killed before this
        raise SystemExit(EXIT_STOPPED)


_active: StopRequest | None = None


@contextmanager
def stop_request(max_minutes: float | None = None) -> Iterator[StopRequest]:
    """Turn signals into a request. In the main thread only; an inner one is the outer one again.

    A SIGHUP that is ignored stays ignored: that is what nohup asks for.
    """
    global _active  # noqa: PLW0603 - signals belong to the process
    if _active is not None:
        yield _active
        return
    _active = StopRequest(max_minutes)
    heard = set(SIGNALS)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        heard.remove(signal.SIGHUP)
    previous = {number: signal.signal(number, _active.on_signal) for number in heard}
    try:
        yield _active
    finally:
        _active = None
        for number, handler in previous.items():
            signal.signal(number, handler)


def pause(seconds: float, stop: StopRequest) -> None:
    """Sleep; KeyboardInterrupt as soon as a stop is asked for."""
    until = time.monotonic() + seconds
    while True:
        stop.raise_if_requested()
        left = until - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, POLL_SECONDS))


def wait_for(
    work: Callable[[], Result], stop: StopRequest, seconds: float = float("inf")
) -> Result:
    """What `work` returns or raises; KeyboardInterrupt as soon as a stop is asked for.

    Raises TimeoutError after so many seconds. It goes on in a thread that dies with the process, so
    `work` must write nothing.
    """
    until = time.monotonic() + seconds
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while True:
        try:
            return future.result(timeout=POLL_SECONDS)
        except TimeoutError:
            if future.done():  # it ended just now, or the error is the work's own
                return future.result()
            if stop.is_requested:
                atexit.register(_exit_before_shutdown, thread, EXIT_STOPPED)
            stop.raise_if_requested()
            if time.monotonic() > until:
                atexit.register(_exit_before_shutdown, thread, 1)
                raise


def _exit_before_shutdown(thread: threading.Thread, code: int) -> None:
    """Exit before interpreter shutdown: it segfaults while a native thread still runs.

    With tokenizers one exit in ten did.
    """
    if thread.is_alive():
        exit_at_once(code)


def exit_at_once(code: int) -> NoReturn:
    """Exit without interpreter shutdown.

    With torch that takes 1 to 2 seconds, on a busy machine 5 and more, and the agent, the other
    processes of the run and the GPU's memory wait for it.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # nobody reads it any more
            stream.flush()
    os._exit(code)


@contextmanager
def exiting_at_once() -> Iterator[None]:
    """The process ends with the block, as Python would end it, but at once."""
    code: object = 0
    try:
        yield
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    exit_at_once(code if isinstance(code, int) else int(code is not None))
