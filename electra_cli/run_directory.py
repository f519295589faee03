"""The files of a run: where they are, and the rows of the training log.

The only code that knows the file names inside a run. It loads the standard library alone, so that
plotting stays quick. What the other files hold is made elsewhere.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from electra_cli.errors import RunError

# Bytes of the log that are parsed at once: small enough for the cache, twice as quick as 4 MiB.
_CHUNK_BYTES = 1 << 16

# The folders that training's CheckpointManager makes.
_CHECKPOINT = re.compile(r"step-(\d+)")


class NoRowsError(RunError):
    """A run that has not logged anything yet."""


@dataclass(frozen=True)
class RunDirectory:
    """A run's folder; naming one creates nothing."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved, complete settings."""
        return self.root / "config.yaml"

    @property
    def environment(self) -> Path:
        """Versions, devices and git state."""
        return self.root / "environment.json"

    @property
    def log(self) -> Path:
        """One row a log step."""
        return self.root / "training_log.csv"

    @property
    def events(self) -> Path:
        """Resumes, warnings and stops (electra_cli.run_events)."""
        return self.root / "events.jsonl"

    @property
    def lock(self) -> Path:
        """Held by the process that writes the run (electra_cli.locks)."""
        return self.root / ".lock"

    @property
    def picture(self) -> Path:
        """The loss curves as a picture."""
        return self.root / "loss_curve.png"

    @property
    def page(self) -> Path:
        """The loss curves as an interactive page."""
        return self.root / "loss_curve.html"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.root / "checkpoints"

    def model(self, name: str) -> Path:
        """Hugging Face folder of a trained network: discriminator, generator or masked_lm."""
        return self.root / name

    def checkpoint_steps(self) -> list[int]:
        """Steps of the checkpoints there are, ascending; none of them is opened."""
        if not self.checkpoints.is_dir():
            return []
        matches = (_CHECKPOINT.fullmatch(path.name) for path in self.checkpoints.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def append_row(self, row: Mapping[str, float | None]) -> None:
        """Add one row to the log and flush it; None becomes an empty cell.

        A new log gets a header. A log that lacks some of the columns, written by an older
        version, is widened first. After a crash truncate_log comes first: it drops a half line.
        Where an OSError says that there was no room, no half row is left.
        """
        header = self._read_header()
        added = [column for column in row if column not in header]
        if added:
            empty = [""] * len(added)
            header = [*header, *added]
            self._rewrite(header, lambda cells: cells + empty)
        size = self.log.stat().st_size
        try:
            with self.log.open("a", encoding="utf-8", newline="") as file:
                file.write(_line([_cell(row.get(column)) for column in header]))
        except OSError:
            os.truncate(self.log, size)
            raise

    def count_rows(self) -> int:
        """Rows of the log; 0 without one."""
        header = self._read_header()
        return sum(len(cells) for cells in self._read_rows(len(header))) if header else 0

    def read_log(self) -> dict[str, list[float | None]]:
        """The log's columns, all of one length; an empty cell is None.

        A half-written last line is left out, so the log of a run that is training, or was killed,
        can be read. Raises RunError for a log that is missing or damaged, NoRowsError for a run
        that has not logged yet.
        """
        if not self.log.is_file() and not self.config.is_file():
            raise RunError(f"{self.root} has no {self.log.name}", hint="name the folder of a run")
        header = self._read_header()
        for name in header:
            if header.count(name) > 1:
                raise RunError(f"{self.log} has two columns {name!r}", hint="mend its first line")
        columns: dict[str, list[float | None]] = {column: [] for column in header}
        rows = 0
        for cells in self._read_rows(len(header)):
            for column, texts in zip(header, zip(*cells, strict=True), strict=True):
                try:
                    columns[column].extend([float(text) if text else None for text in texts])
                except ValueError:
                    raise self._not_a_number(rows, column, texts) from None
            rows += len(cells)
        if rows == 0:
            raise NoRowsError(
                f"{self.log} has no rows yet", hint="the first one comes after run.log_every steps"
            )
        return columns

    def truncate_log(self, step: int) -> None:
        """Cut the log back to the rows with at most `step`, and drop a half-written last line.

        Atomic: a kill leaves the old log or the new one. No log is fine. Raises RunError for a
        damaged one.
        """
        header = self._read_header()
        if not header:
            return  # no log, or one whose first line was never whole: append_row begins it anew
        if "step" not in header:
            raise RunError(f"{self.log} has no column step", hint="move it away to begin a new log")
        index = header.index("step")

        def keep(cells: list[str]) -> list[str] | None:
            try:
                return cells if float(cells[index]) <= step else None
            except ValueError:
                raise RunError(
                    f"{self.log}: step is {cells[index][:40]!r}, not a number",
                    hint="remove or mend that line",
                ) from None

        self._rewrite(header, keep)

    def _read_header(self) -> list[str]:
        """The log's column names; none if there is no log or its first line is not whole."""
        if not self.log.exists():
            return []
        with self.log.open(encoding="utf-8-sig", errors="replace") as file:
            line = file.readline()
        return line[:-1].split(",") if line.endswith("\n") else []

    def _read_rows(self, width: int) -> Iterator[list[list[str]]]:
        """The cells of the whole lines after the header, many lines at once.

        Raises RunError for a line that has not `width` cells.
        """
        rows = 0
        if width == 0:
            return  # no log, or one whose first line is not whole
        # errors="replace": broken UTF-8 turns into a cell that is no number, and is named as such.
        with self.log.open(encoding="utf-8-sig", errors="replace") as file:
            file.readline()
            while lines := file.readlines(_CHUNK_BYTES):
                if not lines[-1].endswith("\n"):
                    lines.pop()
                cells = [line[:-1].split(",") for line in lines]
                for offset, row in enumerate(cells):
                    if len(row) != width:
                        raise self._damaged(rows + offset, f"{len(row)} cells, not {width}")
                rows += len(cells)
                if cells:
                    yield cells

    def _rewrite(
        self, header: Sequence[str], change: Callable[[list[str]], Sequence[str] | None]
    ) -> None:
        """Replace the log by one with this header and the changed rows; None drops a row."""
        partial = self.log.with_name(self.log.name + ".partial")
        width = len(self._read_header())
        with partial.open("w", encoding="utf-8", newline="") as file:
            file.write(_line(header))
            for cells in self._read_rows(width):
                changed = (change(row) for row in cells)
                file.writelines(_line(row) for row in changed if row is not None)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.log)

    def _not_a_number(self, rows: int, column: str, texts: Sequence[str]) -> RunError:
        """Find which of a column's cells, `rows` rows into the log, is no number."""
        for offset, text in enumerate(texts):
            try:
                float(text or 0)
            except ValueError:
                return self._damaged(rows + offset, f"{column} is {text[:40]!r}, not a number")
        raise AssertionError("every cell is a number")

    def _damaged(self, row: int, problem: str) -> RunError:
        """The error for a line that no run writes; row 0 is line 2."""
        return RunError(f"{self.log}, line {row + 2}: {problem}", hint="remove or mend that line")


def _cell(value: float | None) -> str:
    """Text that reads back as the same number."""
    return "" if value is None else str(value)  # of a float, str is repr: the shortest exact one


def _line(cells: Sequence[str]) -> str:
    return ",".join(cells) + "\n"
