"""A limit on memory too low for a command's libraries is told before they are loaded.

Where it is reached while they load, some raise, but others end the process with a line of their
own, abort it, or try for ever (OpenBLAS, of numpy and of scipy).
"""

import resource

from electra_cli.errors import RunError

# MB that suffice, as ulimit -v counts (addresses) and as ulimit -d does (data): measured with
# two cores and torch 2.13, for small runs of each command. Those not named load torch.
_MB_NEEDED = {"status": (400, 200), "plot": (400, 200), "prepare": (600, 200)}
_MB_NEEDED_WITH_TORCH = (1_600, 800)
_LIMITS = (("ulimit -v", resource.RLIMIT_AS), ("ulimit -d", resource.RLIMIT_DATA))


def refuse_too_little_memory(command: str) -> None:
    """Raises RunError where a limit of this process leaves no room for a command's libraries."""
    all_needed = _MB_NEEDED.get(command, _MB_NEEDED_WITH_TORCH)
    for (name, kind), needed in zip(_LIMITS, all_needed, strict=True):
        allowed, _ = resource.getrlimit(kind)
        if allowed != resource.RLIM_INFINITY and allowed < needed * 2**20:
            raise RunError(
                f"there is not enough memory for electra {command}: its libraries alone need "
                f"{needed:,} MB, and {name} allows {allowed / 2**20:,.0f}",
                hint=f"allow more, such as {name} unlimited, then run it again",
            )
