"""Whole commands, as a user starts them, and contestants: each in a process of its own."""

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from electra_cli.run_directory import RunDirectory

ELECTRA = str(Path(sys.executable).with_name("electra"))
_LOOK_EVERY_SECONDS = 0.005
_TALK = "talk.txt"


@dataclass(frozen=True)
class Ended:
    """Time and peak memory of a process."""

    seconds: float
    peak_bytes: int


def read_files(paths: Iterable[Path]) -> float:
    """Read them all, so that the next reader does not wait for the disk -> bytes/s."""
    num_bytes = 0
    started = time.perf_counter()
    for path in sorted(paths):
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(1 << 20):
                num_bytes += len(chunk)
    return num_bytes / (time.perf_counter() - started)


Contestants = Mapping[str, Callable[[], Any]]


@contextmanager
def in_process(
    build: Callable[..., Contestants], *arguments: object
) -> Iterator[Callable[[str], Any]]:
    """Call `build` in a new process; yields a function that runs a contestant there, by its name.

    So settings of a process, such as malloc's, apply to its own contestants only.
    """
    here, there = multiprocessing.Pipe()
    spawned = multiprocessing.get_context("spawn")
    process = spawned.Process(target=_serve, args=(there, build, arguments), daemon=True)
    process.start()
    there.close()

    def run_there(name: str) -> Any:
        here.send(name)
        return here.recv()

    yield run_there
    here.send(None)
    process.join()


def _serve(connection: Connection, build: Callable[..., Contestants], arguments: Any) -> None:
    contestants = build(*arguments)
    while (name := connection.recv()) is not None:
        connection.send(contestants[name]())


def electra(*arguments: object, cwd: Path) -> None:
    """Run a command to its end."""
    run(ELECTRA, *arguments, cwd=cwd)


def run(*command: object, cwd: Path) -> None:
    """Run a process to its end; its output is shown only if it fails."""
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
