"""Ctrl-C as a request that a command answers where it is safe to stop.

An exception raised wherever the signal happens to arrive may be lost: Python drops it inside an
import, and torch's own code aborts the process on it.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """Whether the command was asked to stop; a second signal stops it at once."""

    requested = False

    def request(self, number: int, frame: FrameType | None) -> None:
        """Signal handler: remember it, and let the next one have its usual effect."""
        self.requested = True
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)

    def check(self) -> None:
        """Raise KeyboardInterrupt (exit code 130, see cli.main) if a stop was asked for."""
        if self.requested:
            raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Turn SIGINT and SIGTERM into a request. In the main thread only."""
    interruption = Interruption()
    previous = {
        number: signal.signal(number, interruption.request)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield interruption
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
