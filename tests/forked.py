"""Commands in processes that are forked from one which has loaded torch and the commands' modules.

What runs is the console script's entry point, in a process of its own with its own stdout, stderr,
environment and folder, to that process's end. Only the start of Python and of torch is left out.
"""

import atexit
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import forkserver, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TextIO
from unittest.mock import patch

# The commands that load torch.
HEAVY = ("train", "resume", "tune", "finetune", "predict", "export")
# Variables of packages that are loaded late, and pytest's own. Others may be read when a library
# loads, which it has done before the fork.
_HARMLESS = ("PYTEST_", "TRACKIO_", "MLFLOW_", "WANDB_", "RANK", "WORLD_", "MASTER_", "PLANTED")

_context = get_context("forkserver")
_context.set_forkserver_preload(["loaded"])

# The environment of commands where a test does not change it (conftest.py sets it).
ENVIRONMENT: dict[str, str] = {}


def can_fork(environment: Mapping[str, str]) -> bool:
    """Whether a command with this environment may be forked; starts what it is forked from."""
    changed = dict(environment.items() ^ ENVIRONMENT.items())
    if not all(name.startswith(_HARMLESS) for name in changed):
        return False
    modules = os.pathsep.join((str(Path(__file__).parent), ENVIRONMENT.get("PYTHONPATH", "")))
    with patch.dict(os.environ, {**ENVIRONMENT, "PYTHONPATH": modules}, clear=True):
        forkserver.ensure_running()
    return True


class Forked:
    """A command that has been started, with what tests use of subprocess.Popen."""

    def __init__(self, folder: Path, arguments: list[str], environment: Mapping[str, str]) -> None:
        out, its_out = _context.Pipe(duplex=False)
        err, its_err = _context.Pipe(duplex=False)
        self._arguments = arguments
        self._process = _context.Process(
            target=_run_main, args=(folder, arguments, dict(environment), its_out, its_err)
        )
        self._process.start()
        atexit.register(self.kill)  # before multiprocessing waits for what a failed test left
        its_out.close()
        its_err.close()
        self.stdout, self.stderr = _as_file(out), _as_file(err)
        self._texts: list[Future[str]] = []

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self._arguments, timeout or 0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end -> stdout and stderr; may be called again after a time-out."""
        if not self._texts:
            readers = ThreadPoolExecutor(2)
            self._texts = [readers.submit(file.read) for file in (self.stdout, self.stderr)]
            readers.shutdown(wait=False)
        self.wait(timeout)
        out, err = (text.result() for text in self._texts)
        return out, err

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run_forked(
    folder: Path, arguments: list[str], environment: Mapping[str, str], timeout_seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    process = Forked(folder, arguments, environment)
    try:
        out, err = process.communicate(timeout_seconds)
    finally:
        process.kill()
    return subprocess.CompletedProcess(arguments, process.wait(), out, err)


def _as_file(connection: Connection) -> TextIO:
    with connection:
        return os.fdopen(os.dup(connection.fileno()))


def _run_main(
    folder: Path,
    arguments: list[str],
    environment: Mapping[str, str],
    out: Connection,
    err: Connection,
) -> None:
    from electra_cli.cli import main

    for descriptor, pipe in ((1, out), (2, err)):
        os.dup2(pipe.fileno(), descriptor)
        pipe.close()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["electra", *arguments]
    exec(environment.get("PLANTED", ""), {"os": os})  # a fault, see launched.py
    main()
