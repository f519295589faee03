"""Versions, device and git state of a run, for whoever reads it later."""

import json
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

import electra_cli
from electra_cli.training.device import Compute


def write_environment(path: Path, compute: Compute) -> None:
    """Write a run's environment.json."""
    device = compute.device
    is_gpu = device.type == "cuda"
    facts = {
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
    path.write_text(json.dumps(facts, indent=1) + "\n")


def _git_commit() -> str | None:
    """The program's own commit, with `+` for uncommitted changes; None outside a checkout."""
    here = Path(__file__).parent
    command = ("git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=40")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
