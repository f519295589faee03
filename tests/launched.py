"""A command in several real processes, with faults planted in them."""

import os
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from command_line import TIMEOUT_SECONDS, electra_command, electra_environment
from forked import Forked, can_fork
from run_checks import wait_until

# Run by Python itself in every process of a command: what is planted runs in those of a launcher.
_SITE = 'import os\nif "RANK" in os.environ:\n    exec(os.environ.get("PLANTED", ""))\n'
SLOW_STEPS = """
from electra_cli.training.trainer import Trainer
import time
step = Trainer.train_step
def slow(self, batches):
    time.sleep({seconds})
    step(self, batches)
Trainer.train_step = slow
"""
NO_DATA = """
from electra_cli.data import prepared
from electra_cli.errors import DataError
opened = prepared.open_data
def other(directory, *arguments):
    if os.environ["RANK"] == "1":
        raise DataError("there is no such folder", "copy it there")
    return opened(directory, *arguments)
prepared.open_data = other
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str
    seconds: float  # from end() to the end of its last process

    @property
    def errors(self) -> list[str]:
        return [line for line in self.stderr.splitlines() if line.startswith("error: ")]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return int(found.getsockname()[1])


def fork_process(
    folder: Path, rank: int, count: int, port: int, *arguments: object, planted: str = ""
) -> Forked:
    """One of the processes that a launcher like srun starts: plain variables, no agent."""
    environment = {
        **electra_environment(),
        "RANK": str(rank),
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
        "PLANTED": planted,
    }
    assert can_fork(environment)
    return Forked(folder, list(map(str, arguments)), environment)


def run_together(folder: Path, count: int, *arguments: object, planted: str = "") -> list[Ended]:
    """A command in so many processes to its end, each but the first in an empty folder."""
    port, started = free_port(), time.monotonic()
    folders = [folder, *(folder / f"process-{rank}" for rank in range(1, count))]
    for each in folders:
        each.mkdir(exist_ok=True)
    forked = [
        fork_process(each, rank, count, port, *arguments, planted=planted)
        for rank, each in enumerate(folders)
    ]
    said = [each.communicate(TIMEOUT_SECONDS) for each in forked]
    took = time.monotonic() - started
    assert not any(map(os.listdir, folders[1:]))
    return [Ended(f.wait(), *texts, took) for f, texts in zip(forked, said, strict=True)]


class Launched:
    """A command with `--processes`, watched through /proc."""

    def __init__(self, folder: Path, *arguments: object, planted: str = "") -> None:
        self.folder = folder
        site = folder / "site"
        site.mkdir(exist_ok=True)
        (site / "sitecustomize.py").write_text(_SITE)
        variables = electra_environment()
        path = [str(site), *filter(None, [variables.get("PYTHONPATH")])]
        self._out, self._err = folder / "stdout.txt", folder / "stderr.txt"
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                electra_command(*arguments),
                cwd=folder,
                env={**variables, "PYTHONPATH": os.pathsep.join(path), "PLANTED": planted},
                stdout=out,
                stderr=err,
            )

    def workers(self) -> dict[int, int]:
        """Process ids by rank, of those that live."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and _parent_of(entry) == self.process.pid:
                rank = _variable(entry, "RANK")
                if rank:
                    found[int(rank)] = int(entry.name)
        return found

    def wait_for_workers(self, count: int) -> dict[int, int]:
        wait_until(lambda: len(self.workers()) == count, f"{count} processes")
        return self.workers()

    def end(self, *watched: int, seconds: float = 120) -> Ended:
        """Wait until the command and the processes `watched` are gone."""
        started = time.monotonic()
        code = self.process.wait(seconds)
        wait_until(lambda: not any(map(is_alive, watched)), "the end of all processes", seconds)
        took = time.monotonic() - started
        return Ended(code, self._out.read_text(), self._err.read_text(), took)


def is_alive(pid: int) -> bool:
    """Whether a process is there, and no zombie that waits for its parent to look."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _parent_of(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _variable(entry: Path, name: str) -> str:
    try:
        variables = (entry / "environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    start = f"{name}=".encode()
    return next((each[len(start) :].decode() for each in variables if each.startswith(start)), "")
