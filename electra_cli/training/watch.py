"""What a process does while it waits for the others, and when one of them is gone.

It leaves at once then, from inside the wait: nothing that would come later could be done without
the other. One of all says which one is gone, unless that one did.
"""

import json
import math
import os
import platform
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from electra_cli.stopping import StopRequest, exit_at_once
from electra_cli.training.place import Place
from electra_cli.training.signs_of_life import SignsOfLife

_ERROR_FILE = "TORCHELASTIC_ERROR_FILE"  # where torch's agent looks for what a worker says

_FIRST_PAUSE, _LONGEST_PAUSE = 50e-6, 2e-3  # seconds between looks at what is under way
# A process that hangs is waited for this long after a stop was asked for, or three steps.
_PATIENCE_SECONDS = 5.0
_STEPS_OF_PATIENCE = 3
_SILENT_SECONDS = 4.0  # without a sign of life from a process that is stopped or cut off
_GONE_SECONDS = 2.5  # within which a process that is gone misses two signs of life
_AGENT_SECONDS = 3.0  # within which torch's agent ends the others, once one has failed


class Watch:
    """Waits for what the others do, and looks whether they are there."""

    def __init__(self, place: Place, tell: Callable[[str, str], None] | None) -> None:
        """`tell` shows a problem and a hint to the user."""
        self.hosts = [platform.node()]  # by rank, once all have met
        self.go_on = "start it again"  # the hint where a process is gone
        self.on_loss: Callable[[str], None] = lambda problem: None  # before this process leaves
        self._place = place
        self._tell = tell
        self._reduced_at: float | None = None
        self._longest_step: float | None = None  # seconds; the first ones may compile

    def begin(self, store: Any, stop: StopRequest) -> None:
        """All have come; `store` is torch's, which they share."""
        self._store, self._stop = store, stop
        self.signs = SignsOfLife(store, self._place.rank, self._place.count)

    def end(self, is_failed: bool) -> None:
        """This process leaves with the others, or with an error of its own, which it tells."""
        if is_failed and _ERROR_FILE not in os.environ:  # torch's agent learns it by the exit code
            self.signs.tell()
        self.signs.close()

    def name(self, rank: int) -> str:
        """A process in words."""
        host = f" on {self.hosts[rank]}" if len(self.hosts) == self._place.count else ""
        return f"process {rank}{host}"

    def wait_for(self, is_done: Callable[[], bool], is_step: bool = False) -> None:
        """Wait, and look for the others meanwhile: no signal reaches a process that is blocked."""
        pause, asked_at = _FIRST_PAUSE, None
        silent: list[int] = []
        while not is_done():
            time.sleep(pause)
            pause = min(pause * 1.2, _LONGEST_PAUSE)
            if not self._stop.is_requested:
                continue
            asked_at = asked_at or time.monotonic()
            patience = max(_PATIENCE_SECONDS, _STEPS_OF_PATIENCE * (self._longest_step or math.inf))
            is_late = is_step and time.monotonic() - asked_at > patience
            with suppress(RuntimeError):  # the store is gone: a connection will tell the rest
                silent = self.signs.silent(_SILENT_SECONDS, has_to_move=is_late)
            if silent:
                self.signs.end(silent)
                self.leave(" and ".join(map(self.name, silent)) + " does not answer")

    def count_step(self) -> None:
        """A step was added up: so long may one take."""
        now = time.monotonic()
        if self._reduced_at is not None:
            self._longest_step = max(self._longest_step or 0.0, now - self._reduced_at)
        self._reduced_at = now

    def forget_steps(self) -> None:
        """What was added up so far were no steps."""
        self._reduced_at = self._longest_step = None

    def leave(self, problem: str | None = None) -> NoReturn:
        """End this process because another one is gone; `problem` says how, where that is known."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        has_agent = _ERROR_FILE in os.environ
        if problem is None and not has_agent:
            problem = self._find_lost()
        self.on_loss(problem or "another process of the run ended")
        if has_agent:
            # The agent has seen the one that ended, and ends the others. It reads what is said
            # here, and tells it if no process ended by itself.
            said = {"message": problem or "", "hint": self.go_on}
            with suppress(OSError):
                Path(os.environ[_ERROR_FILE]).write_text(json.dumps(said))
            if not self._stop.is_requested:  # else it has ended this process, as far as it can
                time.sleep(_AGENT_SECONDS)
        else:
            if problem is not None and self._tell is not None:
                self._tell(problem, self.go_on)
            if self._place.rank == 0 and self._place.count > 2:
                self.signs.tell()  # with this process ends the store: the others would name it
        exit_at_once(1)

    def _find_lost(self) -> str | None:
        """Which process is gone; None if that one has said it, or another one does."""
        silent = [0]  # where the store is gone: it was the first process's
        until = time.monotonic() + 2 * _GONE_SECONDS
        with suppress(RuntimeError):
            while time.monotonic() < until and not self.signs.is_told:
                silent = self.signs.silent(_GONE_SECONDS)
                if silent:
                    break
                time.sleep(0.1)
            if self._store.add("naming", 1) > 1:
                return None
        if self.signs.is_told or not silent:
            return None
        return " and ".join(map(self.name, silent)) + " is gone"
