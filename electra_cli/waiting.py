"""Wait, for a time or for one long call of a library, and see a wish to stop meanwhile."""

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from electra_cli.stopping import EXIT_INTERRUPTED, Interruption

ASKED_EVERY_SECONDS = 0.2

Result = TypeVar("Result")


def pause(seconds: float, interruption: Interruption) -> None:
    """Sleep; KeyboardInterrupt as soon as a stop is asked for."""
    until = time.monotonic() + seconds
    while True:
        interruption.check()
        left = until - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, ASKED_EVERY_SECONDS))


def wait_for(work: Callable[[], Result], interruption: Interruption) -> Result:
    """What `work` returns or raises; KeyboardInterrupt as soon as a stop is asked for.

    It goes on in a thread that dies with the process, so `work` must write nothing.
    """
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
            return future.result(timeout=ASKED_EVERY_SECONDS)
        except TimeoutError:
            if future.done():  # it ended just now, or the error is the work's own
                return future.result()
            if interruption.requested:
                atexit.register(_end_at_once, thread)
            interruption.check()


def _end_at_once(thread: threading.Thread) -> None:
    """End the process before the interpreter goes to pieces under a library that still computes.

    The library would end it otherwise: tokenizers did once in ten times, by a segmentation fault.
    """
    if thread.is_alive():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(EXIT_INTERRUPTED)
