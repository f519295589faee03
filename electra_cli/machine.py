"""How many cores and how much memory this process may use: not what the machine has.

Containers and batch systems set limits by control groups (cgroups, versions 1 and 2), affinity and
ulimit. No library that is kept up reads all of them: psutil knows affinity alone, loky the cores of
the outermost group.
"""

import math
import os
import re
import resource
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/")
# Files with a limit in bytes, of version 2 and 1. Beyond memory.high the kernel slows a group down.
_MEMORY_FILES = ("memory.max", "memory.high", "memory.limit_in_bytes")
# What loading a library, starting a thread, and torch raise where a limit forbids it.
_LIMIT_MESSAGES = ("failed to map segment", "can't start new thread", "can't allocate memory")


def usable_cores(root: Path = _ROOT) -> int:
    """Cores by affinity and by the quotas of all control groups; a part of a core counts as one.

    `root` is where proc/ and the cgroups lie.
    """
    get_affinity = getattr(os, "sched_getaffinity", None)  # macOS has none
    cores = len(get_affinity(0)) if get_affinity is not None else os.cpu_count() or 1
    quotas = [_cores_of_group(group) for group in _control_groups("cpu", root)]
    return max(1, math.ceil(min([cores, *quotas])))


def usable_memory_bytes(root: Path = _ROOT) -> int:
    """The smallest of the installed memory, the limits of all control groups, and ulimit's.

    `root` is where proc/ and the cgroups lie.
    """
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            limits.append(soft)
    for group in _control_groups("memory", root):
        limits += [limit for name in _MEMORY_FILES if (limit := _read_number(group / name))]
    return min(limits)


def is_limit_reached(error: BaseException) -> bool:
    """Whether a library raised this because memory or threads were short, whatever it was doing."""
    said = str(error)
    return isinstance(error, MemoryError) or any(each in said for each in _LIMIT_MESSAGES)


def _cores_of_group(group: Path) -> float:
    """What a group's quota allows; infinity without one."""
    quota, period = [*_read(group / "cpu.max").split(), "", ""][:2]  # version 2
    if not quota:
        quota = _read(group / "cpu.cfs_quota_us")  # version 1
        period = _read(group / "cpu.cfs_period_us")
    if not (quota.isdecimal() and period.isdecimal() and int(period)):  # "max", -1, no such file
        return math.inf
    return int(quota) / int(period)


def _control_groups(controller: str, root: Path) -> Iterator[Path]:
    """Folders of the groups that limit this process: its own, and each one around it."""
    names = dict(_groups_of_process(root))
    for line in _read(root / "proc/self/mountinfo").splitlines():
        # The fields after " - " are type, source, options.
        before, _, after = line.partition(" - ")
        fields, filesystem = before.split(), after.split()
        if len(fields) < 5 or len(filesystem) < 3:
            continue
        if filesystem[0] == "cgroup2":
            name = names.get("")
        elif filesystem[0] == "cgroup" and controller in filesystem[2].split(","):
            name = names.get(controller)
        else:
            continue
        if name is None:
            continue
        mounted = root / _unescape(fields[4]).lstrip("/")
        # A container often sees only a part of the tree, mounted from its own group on.
        below = _relative(name, _unescape(fields[3]))
        group = mounted / below
        yield from (group, *list(group.parents)[: len(below.parts)])


def _groups_of_process(root: Path) -> Iterator[tuple[str, str]]:
    """(controller, path) of each group that the process is in; version 2 has no controller."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            yield controller, path


def _relative(name: str, mounted_from: str) -> Path:
    """A group's path below the mount point; empty if it is not below it."""
    path = Path(name)
    below = path.relative_to(mounted_from) if path.is_relative_to(mounted_from) else Path()
    return Path() if ".." in below.parts else below


def _unescape(path: str) -> str:
    """A path of mountinfo, which writes blanks as \\040."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


def _read(path: Path) -> str:
    """A file's text; empty if there is none, or it cannot be read."""
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""


def _read_number(path: Path) -> int | None:
    text = _read(path)
    return int(text) if text.isdecimal() else None
