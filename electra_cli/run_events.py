"""Events of a run: starting weights, resumes, warnings, stops. One JSON object per line.

Loads the standard library alone, so that plotting starts quickly. The path of the file is
RunDirectory.events.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from electra_cli.disk import write_bytes_atomically

EventKind = Literal["started", "resumed", "warning", "stopped"]


@dataclass(frozen=True)
class RunEvent:
    """Something that happened in a run and is marked on its curves."""

    step: int  # completed steps when it happened
    kind: EventKind
    text: str  # for people; of a warning its problem
    key: str = ""  # which warning it is, so that each is raised once per run
    time: str = ""  # ISO 8601, UTC


def append_event(path: Path, step: int, kind: EventKind, text: str, key: str = "") -> None:
    """Add one event with the present time, and flush it."""
    event = RunEvent(step, kind, text, key, datetime.now(UTC).isoformat(timespec="seconds"))
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(event)) + "\n")


def read_events(path: Path) -> list[RunEvent]:
    """All events, oldest first; none if there is no file.

    A line that is no event (half-written before a kill, or of a newer version) is skipped: events
    explain a run, and nothing depends on them.
    """
    if not path.is_file():
        return []
    events = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            event = RunEvent(**json.loads(line))
        except (ValueError, TypeError):
            continue
        if isinstance(event.step, int) and event.kind in get_args(EventKind):
            events.append(event)
    return events


def truncate_events(path: Path, step: int) -> list[RunEvent]:
    """Remove the events after `step`, for a run that continues from there; return the others.

    Atomic: a kill leaves the old file or the new one.
    """
    kept: Sequence[RunEvent] = [event for event in read_events(path) if event.step <= step]
    if path.is_file():
        content = "".join(json.dumps(asdict(event)) + "\n" for event in kept).encode()
        write_bytes_atomically(path, content)
    return list(kept)
