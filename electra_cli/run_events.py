"""What happened in a run beside its steps: resumes, warnings, stops. One JSON object a line.

Loads the standard library alone, so that plotting stays quick. Where the file lies is
run_directory.py's knowledge.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from electra_cli.disk import write_bytes_atomically

EventKind = Literal["resumed", "warning", "stopped"]


@dataclass(frozen=True)
class RunEvent:
    """Something worth a mark on the curves."""

    step: int  # completed steps when it happened
    kind: EventKind
    text: str  # for people; a warning's problem
    key: str = ""  # which warning, so that each is raised once a run
    time: str = ""  # ISO 8601, UTC


def append_event(path: Path, step: int, kind: EventKind, text: str, key: str = "") -> None:
    """Add one event, stamped with the time, and flush it."""
    event = RunEvent(step, kind, text, key, datetime.now(UTC).isoformat(timespec="seconds"))
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(event)) + "\n")


def read_events(path: Path) -> list[RunEvent]:
    """All events, oldest first; none if there is no file.

    A line that is no event (cut by a kill, or written by a newer version) is passed over: events
    explain a run, nothing depends on them.
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
    """Forget what happened after `step`: a run that goes on from there lives it again."""
    kept: Sequence[RunEvent] = [event for event in read_events(path) if event.step <= step]
    if path.is_file():
        content = "".join(json.dumps(asdict(event)) + "\n" for event in kept).encode()
        write_bytes_atomically(path, content)
    return list(kept)
