"""A wish to stop (a signal, or the time that is up) which a command answers where it is safe.

An exception raised wherever the signal happens to arrive may be lost: Python drops it inside an
import, and torch's own code aborts the process on it.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_INTERRUPTED = 130
# Schedulers send SIGUSR1 some time before the limit, and SIGTERM at it.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Interruption:
    """Whether the command was asked to stop, and by what."""

    def __init__(self, max_minutes: float | None = None) -> None:
        self.reason: str | None = None
        self._max_minutes = max_minutes
        self._started = time.monotonic()  # no clock that anybody sets

    @property
    def requested(self) -> bool:
        """A signal came, or the time is up."""
        minutes = (time.monotonic() - self._started) / 60
        if self.reason is None and self._max_minutes is not None and minutes >= self._max_minutes:
            self.reason = f"--max-minutes {self._max_minutes:g}"
        return self.reason is not None

    def request(self, number: int, frame: FrameType | None) -> None:
        """Signal handler: remember it. A SIGINT after any signal ends the process at once."""
        self.reason = self.reason or signal.Signals(number).name
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def check(self) -> None:
        """Raise KeyboardInterrupt (exit code 130, see cli.main) if a stop was asked for."""
        if self.requested:
            raise KeyboardInterrupt


_active: Interruption | None = None


@contextmanager
def interruptible(max_minutes: float | None = None) -> Iterator[Interruption]:
    """Turn signals into a request. In the main thread only; an inner one is the outer one again."""
    global _active  # noqa: PLW0603 - signals belong to the process
    if _active is not None:
        yield _active
        return
    _active = Interruption(max_minutes)
    previous = {number: signal.signal(number, _active.request) for number in _SIGNALS}
    try:
        yield _active
    finally:
        _active = None
        for number, handler in previous.items():
            signal.signal(number, handler)
