"""Commands in processes that are forked from one which has loaded torch and the commands' modules.

What runs is the console script's entry point, in a process of its own with its own stdout, stderr,
environment and folder, to that process's end. Only the start of Python and of torch is left out.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing import forkserver, get_context
from pathlib import Path
from unittest.mock import patch

# The commands that load torch.
HEAVY = ("train", "resume", "tune", "finetune", "predict", "export")
# Variables of packages that are loaded late, and pytest's own. Others may be read when a library
# loads, which it has done before the fork.
_HARMLESS = ("PYTEST_", "TRACKIO_", "MLFLOW_", "WANDB_")

_context = get_context("forkserver")
_context.set_forkserver_preload([__name__, *(f"electra_cli.commands.{name}" for name in HEAVY)])


_environment_at_start: dict[str, str] = {}


def can_fork(environment: Mapping[str, str]) -> bool:
    """Whether a command with this environment may be forked; starts what it is forked from."""
    if not _environment_at_start:
        _environment_at_start.update(environment)
        modules = os.pathsep.join((str(Path(__file__).parent), environment.get("PYTHONPATH", "")))
        with patch.dict(os.environ, {**environment, "PYTHONPATH": modules}, clear=True):
            forkserver.ensure_running()
    changed = dict(environment.items() ^ _environment_at_start.items())
    return all(name.startswith(_HARMLESS) for name in changed)


def run_forked(
    folder: Path, arguments: list[str], environment: Mapping[str, str], timeout_seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    with tempfile.TemporaryDirectory() as kept:
        out, err = Path(kept, "stdout"), Path(kept, "stderr")
        out.touch()
        err.touch()
        process = _context.Process(
            target=_run_main, args=(folder, arguments, dict(environment), out, err)
        )
        process.start()
        process.join(timeout_seconds)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(arguments, timeout_seconds)
        return subprocess.CompletedProcess(
            arguments, process.exitcode, out.read_text(), err.read_text()
        )


def _run_main(
    folder: Path, arguments: list[str], environment: Mapping[str, str], out: Path, err: Path
) -> None:
    from electra_cli.cli import main

    for descriptor, path in ((1, out), (2, err)):
        file = os.open(path, os.O_WRONLY)
        os.dup2(file, descriptor)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["electra", *arguments]
    main()
