"""Whole commands, as a user starts them: `electra ...` in a process of its own, from outside."""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from electra_cli.run_directory import RunDirectory

ELECTRA = str(Path(sys.executable).with_name("electra"))
_LOOK_EVERY_SECONDS = 0.005
_TALK = "talk.txt"


@dataclass(frozen=True)
class Ended:
    """What a process took."""

    seconds: float
    peak_bytes: int


def electra(*arguments: object, cwd: Path) -> None:
    """Run a command to its end."""
    run(ELECTRA, *arguments, cwd=cwd)


def run(*command: object, cwd: Path) -> None:
    """Run a process to its end; what it says is shown only if it fails."""
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}:\n{done.stderr.decode()}")


def train_to_first_step(folder: Path, name: str, *arguments: object) -> Ended:
    """`electra train` in a new run until the log holds its first step; then the process is ended.

    The peak is the largest resident memory up to there, shared pages included.
    """
    log = RunDirectory(folder / "runs" / name).log
    every_step = ("--set", "run.log_every=1", "--set", "run.eval_every=1000000")
    command = [ELECTRA, "train", "--run-name", name, *every_step, *map(str, arguments)]
    started = time.perf_counter()
    with (folder / _TALK).open("wb") as talk:
        process = subprocess.Popen(command, cwd=folder, stdout=talk, stderr=talk)
        while not (log.is_file() and log.read_bytes().count(b"\n") > 1):
            if process.poll() is not None:
                sys.exit(f"{' '.join(command)}:\n{(folder / _TALK).read_text()}")
            time.sleep(_LOOK_EVERY_SECONDS)
        seconds = time.perf_counter() - started
        peak = peak_bytes(process.pid)
        process.kill()
        process.wait()
    return Ended(seconds, peak)


def peak_bytes(process_id: int) -> int:
    """Of resident memory, by Linux; getrusage counts the parent before the program began, too."""
    status = Path(f"/proc/{process_id}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
