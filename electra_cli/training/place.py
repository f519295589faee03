"""Where this process stands among those of its run, as a launcher says."""

import os
from dataclasses import dataclass

from electra_cli.errors import RunError

_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


@dataclass(frozen=True)
class Place:
    """This process's number among all, and among those of its machine."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1


ALONE_PLACE = Place()


def read_place() -> Place:
    """What RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE say, which torchrun sets.

    Raises RunError where that makes no sense. WORLD_SIZE 1, or none, is one process alone. No
    scheduler's own variables are read: they are set in its shells, too, where one process runs.
    """
    said = {name: os.environ.get(name, "").strip() for name in _NAMES}
    if said["WORLD_SIZE"] in ("", "1"):
        return ALONE_PLACE
    said["LOCAL_WORLD_SIZE"] = said["LOCAL_WORLD_SIZE"] or said["WORLD_SIZE"]
    said["LOCAL_RANK"] = said["LOCAL_RANK"] or said["RANK"]
    hint = (
        "electra train --processes N sets them all, and torchrun; to train in one process, start "
        "it without torchrun, or unset WORLD_SIZE"
    )
    needed = ("RANK", "MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in needed if not os.environ.get(name)]
    if missing:
        raise RunError(
            f"this is one of {said['WORLD_SIZE']} processes (WORLD_SIZE), but nothing says "
            + " and ".join(missing),
            hint,
        )
    try:
        place = Place(*(int(said[name]) for name in _NAMES))
    except ValueError:
        place = Place(-1)
    if not 0 <= place.rank < place.count or not 0 <= place.local_rank < place.local_count:
        values = ", ".join(f"{name}={said[name]}" for name in _NAMES)
        raise RunError(f"this is no process's place among others: {values}", hint)
    return place
