"""Versions, device and git state of a run since its last start, for whoever reads it later."""

import json
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

import electra_cli
from electra_cli.disk import write_bytes_atomically
from electra_cli.training.device import Compute
from electra_cli.training.processes import ALONE, Processes


def write_environment(path: Path, compute: Compute, processes: Processes = ALONE) -> None:
    """Write a run's environment.json."""
    described = json.dumps(_describe(compute) | _describe_all(processes), indent=1) + "\n"
    write_bytes_atomically(path, described.encode())


def environment_changes(path: Path, compute: Compute) -> dict[str, str]:
    """What is not as environment.json says: `name: "then -> now"`."""
    try:
        then = json.loads(path.read_bytes())
        then = then if isinstance(then, dict) else {}
    except (OSError, ValueError, RecursionError):
        then = {}
    now = _describe(compute)
    return {name: f"{then.get(name)} -> {now[name]}" for name in now if then.get(name) != now[name]}


def _describe(compute: Compute) -> dict[str, str | int | None]:
    device = compute.device
    is_gpu = device.type == "cuda"
    return {
        "electra": electra_cli.__version__,
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if is_gpu else str(device),
        "precision": compute.precision,
        "threads": torch.get_num_threads(),
    }


def _describe_all(processes: Processes) -> dict[str, object]:
    """How many processes, and where: `hosts` by rank, of several only."""
    if processes.is_alone:
        return {"processes": 1}
    return {"processes": processes.count, "hosts": processes.hosts, "devices": processes.devices}


def _git_commit() -> str | None:
    """The program's own commit, with `+` for uncommitted changes; None outside a checkout.

    Installed below somebody's own repository, as in its .venv, the program is none of its files.
    """
    try:
        _run_git("ls-files", "--error-unmatch", Path(__file__).name)
        return _run_git("describe", "--always", "--dirty=+", "--abbrev=40")
    except (OSError, subprocess.SubprocessError):
        return None


def _run_git(*arguments: str) -> str:
    command = ("git", "-C", str(Path(__file__).parent), *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=5)
    return done.stdout.strip()
