"""Wait for one long call of a library that sees no signal."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from electra_cli.commands.interruption import Interruption

ASKED_EVERY_SECONDS = 0.2

Result = TypeVar("Result")


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
