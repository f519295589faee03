"""The option --processes: how many it asks for, and the command without it."""

import os
import sys

from electra_cli.errors import ConfigError, RunError


def count_processes(wanted: str | None) -> int:
    """What `--processes` says. Raises ConfigError, or RunError where that cannot be."""
    if wanted is None:
        return 1
    if os.environ.get("RANK") or os.environ.get("WORLD_SIZE", "1").strip() not in ("", "1"):
        raise RunError(
            "--processes starts processes, and this is one that a launcher started (RANK)",
            hint="leave --processes out; the launcher says how many there are",
        )
    if wanted == "gpus":
        import torch

        if not torch.cuda.device_count():
            raise RunError("there is no GPU for --processes gpus", hint="--processes N")
        return torch.cuda.device_count()
    if not wanted.isdecimal() or not 1 <= int(wanted) <= 1024:
        raise ConfigError(
            f"--processes {wanted} is no number of processes",
            hint="a number from 1 to 1024, or gpus",
        )
    return int(wanted)


def own_arguments() -> list[str]:
    """The arguments of this command, without --processes."""
    given = iter(sys.argv[1:])
    kept = []
    for argument in given:
        if argument == "--processes":
            next(given)
        elif not argument.startswith("--processes="):
            kept.append(argument)
    return kept
