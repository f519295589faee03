"""`--processes N` of a command whose work falls into independent parts: children, a device each.

They share the work through files, as several commands do that are started by hand. The first one
speaks; the others print nothing.
"""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from electra_cli import console
from electra_cli.commands.processes_option import count_processes, own_arguments
from electra_cli.machine import usable_cores
from electra_cli.stopping import EXIT_STOPPED, LAUNCHER_PID, StopRequest, pause

_POLL_SECONDS = 0.2
_GRACE_SECONDS = 60.0  # within which all fail that have the same problem


def run_children(wanted: str, most: int, stop: StopRequest) -> NoReturn:
    """Run this command in as many children as are `wanted`, but at most `most`.

    Exits as the first one does. The others go on without one that fails; a stop that is asked of
    this process is asked of all.
    """
    count = min(count_processes(wanted), most)
    children = [start_child(number, count, own_arguments()) for number in range(count)]
    failed: set[int] = set()
    try:
        while not wait_for_end(children, stop, _POLL_SECONDS):
            for number, child in enumerate(children):
                if child.poll() not in (None, 0, EXIT_STOPPED) and number not in failed:
                    failed.add(number)
                    is_over = wait_for_end(children, stop, _GRACE_SECONDS)
                    if not (is_over and _fails_by_itself(children[0])):
                        _warn_of(number, child.returncode)
    except KeyboardInterrupt:
        pass
    end_children(children)
    code = children[0].returncode
    raise SystemExit(code if code >= 0 else 1)


def wait_for_end(
    children: Sequence[subprocess.Popen[bytes]], stop: StopRequest, seconds: float = math.inf
) -> bool:
    """Whether all end within so many seconds. Raises KeyboardInterrupt after a stop request."""
    until = time.monotonic() + seconds
    while any(child.poll() is None for child in children):
        if time.monotonic() >= until:
            return False
        pause(_POLL_SECONDS, stop)
    return True


def _fails_by_itself(first: subprocess.Popen[bytes]) -> bool:
    """Whether the first child has said what is wrong, most likely for all of them."""
    return first.returncode > 0 and first.returncode != EXIT_STOPPED


def _warn_of(number: int, code: int) -> None:
    """Say that a child failed."""
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    more = (
        "without --processes the command says why"
        if number
        else "the same command, once more, shows what they find"  # this one was to say it
    )
    console.warn(f"process {number} ended with {how}", f"the others do its work; {more}")


def start_child(
    number: int, count: int, arguments: Sequence[str], **variables: str
) -> subprocess.Popen[bytes]:
    """Start a command as one of `count`, with its share of the cores and a GPU of its own."""
    environment = {**os.environ, **variables, LAUNCHER_PID: str(os.getpid())}
    environment.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // count)))
    gpus = _gpus()
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    command = [sys.executable, "-m", "electra_cli", *arguments]
    out = None if number == 0 else subprocess.DEVNULL
    # Of another session, so that Ctrl-C in the terminal reaches it once, from here.
    return subprocess.Popen(
        command, env=environment, stdout=out, stderr=out, start_new_session=True
    )


def _gpus() -> list[str]:
    """Names of the GPUs, as CUDA_VISIBLE_DEVICES has them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip()]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def end_children(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask those that are left to stop, and wait until they have saved."""
    for child in children:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
    for child in children:
        child.wait()
