"""Signs of life: each process says once per second that it is there, and whether it waits.

A process that was stopped (SIGSTOP), or whose machine is gone, says nothing any more, but its
connections stay open, so nothing else tells.
"""

import os
import platform
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

_EVERY_SECONDS = 1.0


class _Sign(NamedTuple):
    """What a process says of itself."""

    host: str
    pid: int
    number: int
    is_busy: bool  # it waits for the others, or writes to a disk: it does not hang


class SignsOfLife:
    """Gives this process's signs in a thread, and reads those of the others."""

    def __init__(self, store: Any, rank: int, count: int) -> None:
        """`store`: torch's, which all processes share."""
        self._store = store.clone()  # a connection of its own: another thread uses it
        self._reading = store.clone()
        self._rank = rank
        self._others = [other for other in range(count) if other != rank]
        self._busy = 0
        self._given = 0
        self._seen: dict[int, tuple[_Sign, float]] = {}  # the newest sign, and when it was new
        self._read_at = 0.0
        self.is_told = False  # a process that ended has said why
        self._give()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._keep_giving, name="signs", daemon=True)
        self._thread.start()

    def _keep_giving(self) -> None:
        with suppress(RuntimeError):  # the store has ended, and with it this
            while not self._closed.wait(_EVERY_SECONDS):
                self._give()
                self.is_told = self._store.check(["told"])

    def close(self) -> None:
        """End the thread: torch's store does not bear one at the process's end."""
        self._closed.set()
        self._thread.join()

    def tell(self) -> None:
        """This process says why it ends; the others learn of that within a second."""
        with suppress(RuntimeError):
            self._store.set("told", "")
            time.sleep(1.5 * _EVERY_SECONDS)

    def _give(self) -> None:
        self._given += 1
        is_busy = int(self._busy > 0)
        text = f"{platform.node()} {os.getpid()} {self._given} {is_busy}"
        self._store.set(f"alive/{self._rank}", text)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """In the block this process may take as long as it wants."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1

    def silent(self, seconds: float, has_to_move: bool = False) -> list[int]:
        """Ranks of which no new sign came for so long; `has_to_move`: or that hang.

        Looks once per second at most. Raises RuntimeError where the store is gone.
        """
        now = time.monotonic()
        if now - self._read_at < _EVERY_SECONDS:
            return []
        if now - self._read_at > seconds:  # the first look for a while: signs count from now on
            self._seen.clear()
        self._read_at = now
        for rank in self._others:
            host, pid, number, is_busy = self._reading.get(f"alive/{rank}").decode().split(" ")
            sign = _Sign(host, int(pid), int(number), is_busy == "1")
            if rank not in self._seen or self._seen[rank][0].number != sign.number:
                self._seen[rank] = sign, now
        return [
            rank
            for rank, (sign, since) in self._seen.items()
            if now - since >= seconds or (has_to_move and not sign.is_busy)
        ]

    def end(self, ranks: Sequence[int]) -> None:
        """Kill those of this machine: no signal but SIGKILL ends a process that hangs."""
        for rank in ranks:
            sign = self._seen[rank][0]
            if sign.host == platform.node():
                with suppress(OSError):
                    os.kill(sign.pid, signal.SIGKILL)
