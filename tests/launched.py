"""A command in several real processes, watched through /proc, with faults planted in them."""

import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from command_line import electra_command, electra_environment
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


class Launched:
    """A command with `--processes`, or one of those that another launcher starts."""

    def __init__(
        self,
        folder: Path,
        *arguments: object,
        planted: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        site = folder / "site"
        site.mkdir(exist_ok=True)
        (site / "sitecustomize.py").write_text(_SITE)
        variables = {**electra_environment(), **(environment or {})}
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
