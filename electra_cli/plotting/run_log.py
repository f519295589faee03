"""What drawing knows of a run: its log as arrays, its settings, and what happened in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from electra_cli.errors import RunError
from electra_cli.run_directory import RunDirectory
from electra_cli.run_events import read_events

if TYPE_CHECKING:
    import pyarrow as pa

# One value per row of the log; NaN where there is none.
Column = npt.NDArray[np.float64]

_NOTHING: Column = np.empty(0)


@dataclass(frozen=True)
class Mark:
    """An event or a checkpoint of a run, to be marked on its curves."""

    step: int
    kind: Literal["resumed", "warning", "stopped", "checkpoint"]
    text: str
    time: str = ""  # ISO 8601, UTC


@dataclass(frozen=True)
class RunLog:
    """A run: its name, the columns of its log, its settings by `section.key`, and its marks."""

    name: str
    columns: Mapping[str, Column]
    settings: Mapping[str, object] = field(default_factory=dict)
    marks: Sequence[Mark] = ()

    def column(self, name: str) -> Column:
        """A column; empty if the log has none, such as that of an older version."""
        return self.columns.get(name, _NOTHING)

    def drawn_marks(self) -> list[Mark]:
        """The marks to draw. A stop is left out where the run was resumed at the same step."""
        resumes = {mark.step for mark in self.marks if mark.kind == "resumed"}
        return [m for m in self.marks if m.kind != "stopped" or m.step not in resumes]


def read_run(directory: RunDirectory, name: str, settings: Mapping[str, object]) -> RunLog:
    """Read a run as it is now: finished, training or killed.

    Raises RunError for a log that is missing, without rows, damaged, or whose steps do not rise.
    """
    table = directory.read_table()
    columns = {name: _numbers(table[name].chunks) for name in table.column_names}
    _check_steps(directory.log, columns)
    marks = [Mark(step, "checkpoint", "") for step in directory.checkpoint_steps()]
    marks += [
        Mark(event.step, event.kind, str(event.text), str(event.time))
        for event in read_events(directory.events)
        if event.kind != "started"  # every curve begins there
    ]
    return RunLog(name, columns, settings, sorted(marks, key=lambda mark: mark.step))


def _numbers(chunks: "Sequence[pa.Array]") -> Column:
    """The values of a column, NaN where one is missing.

    pyarrow's own to_numpy would load pandas, which takes a third of a second.
    """
    parts = []
    for chunk in chunks:
        valid, values = chunk.buffers()
        part = np.frombuffer(values, np.float64, count=len(chunk), offset=8 * chunk.offset)
        if chunk.null_count:
            bits = np.unpackbits(np.frombuffer(valid, np.uint8), bitorder="little")
            part = np.where(bits[chunk.offset : chunk.offset + len(chunk)], part, np.nan)
        parts.append(part)
    return np.concatenate(parts)


def _check_steps(log: Path, columns: Mapping[str, Column]) -> None:
    """Raise RunError unless every row has a step above the one before."""
    steps = columns.get("step")
    if steps is None or np.isnan(steps).any():
        raise RunError(f"{log} has rows without a step", hint="name a folder made by electra train")
    falls = np.flatnonzero(np.diff(steps) <= 0)
    if falls.size:
        row = int(falls[0]) + 1
        raise RunError(
            f"{log}, line {row + 2}: step {steps[row]:.12g} comes after step {steps[row - 1]:.12g}",
            hint="remove the rows of one of the two runs that wrote here",
        )
