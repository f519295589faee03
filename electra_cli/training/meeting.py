"""How the processes of a run find each other: by torch's store, at MASTER_ADDR:MASTER_PORT.

A process may be missing, and the port may be another program's or another run's. So nobody waits
without an end, and each learns what is wrong.
"""

import os
import platform
import socket
import time
from datetime import timedelta
from typing import Any

from electra_cli.errors import RunError
from electra_cli.training.place import Place

LIMIT_SECONDS = 600.0  # until all are there: torch's elastic agent waits as long
_LOOK_EVERY_SECONDS = 0.1
HINT = (
    "start all processes at about the same time; MASTER_ADDR is process 0's machine, MASTER_PORT a "
    "free port of it that no other run uses, and each process has a RANK of its own"
)


def meeting_place() -> str:
    """Where they meet, in words."""
    return f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"


def meet_others(place: Place) -> Any:
    """torch's store, once all processes have come; RunError where that cannot be."""
    import torch.distributed

    dist: Any = torch.distributed  # TCPStore is not among its names for type checkers
    where, this = meeting_place(), f"process {place.rank} on {platform.node()}"
    until = time.monotonic() + LIMIT_SECONDS
    # torchrun's agent has begun a store there already.
    begins = place.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    try:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        if not 0 < port < 65_536:
            raise ValueError(f"{port} is no port")
        socket.getaddrinfo(address, port)  # an unknown machine is one at once
        if not begins:
            _wait_for_store(address, port, until)
        store = dist.TCPStore(
            address, port, is_master=begins, wait_for_workers=False,
            timeout=timedelta(seconds=LIMIT_SECONDS),
        )  # fmt: skip
        _be_counted(store, place, where)
        while store.add("come", 0) < place.count:
            if time.monotonic() > until:
                raise RunError(f"{_missing(store, place)} did not come to {where}", HINT)
            time.sleep(_LOOK_EVERY_SECONDS)
        dist.init_process_group("gloo", store=store, rank=place.rank, world_size=place.count)
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"{this} does not reach the others at {where}: {reason}", HINT) from None
    return store


def _wait_for_store(address: str, port: int, until: float) -> None:
    """Return once something listens there, or raise OSError: torch would print each attempt."""
    while True:
        try:
            socket.create_connection((address, port), timeout=5).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(_LOOK_EVERY_SECONDS)
        else:
            return


def _be_counted(store: Any, place: Place, where: str) -> None:
    """Say that this process has come. Raises RunError where it does not belong to the others."""
    if place.rank == 0:
        store.set("count", str(place.count))
    count = store.get("count").decode()
    if count != str(place.count):
        raise RunError(
            f"this is one of {place.count} processes, and those at {where} are {count}",
            hint="WORLD_SIZE is the same everywhere; another run needs another MASTER_PORT",
        )
    if store.add(f"come/{place.rank}", 1) > 1:
        raise RunError(f"another process with RANK {place.rank} is at {where}", HINT)
    store.add("come", 1)


def _missing(store: Any, place: Place) -> str:
    ranks = [str(rank) for rank in range(place.count) if not store.check([f"come/{rank}"])]
    return f"process {', '.join(ranks)} of {place.count}"
