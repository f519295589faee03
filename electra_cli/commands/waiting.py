"""Wait, for a time or for one long call of a library, and see a wish to stop meanwhile."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from electra_cli.commands.interruption import Interruption

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

    threading.Thread(target=run, daemon=True).start()
    while True:
        try:
            return future.result(timeout=ASKED_EVERY_SECONDS)
        except TimeoutError:
            if future.done():  # it ended just now, or the error is the work's own
                return future.result()
            interruption.check()
