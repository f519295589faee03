"""The files of a run: where they are, and the rows of the training log.

The only code that knows the file names inside a run. Importing it loads the standard library alone,
so that plotting starts quickly; reading a log loads pyarrow. The content of the other files is made
and read elsewhere.
"""

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from electra_cli.disk import as_argument, replace_file, steps_of_folders
from electra_cli.errors import RunError

if TYPE_CHECKING:
    import pyarrow as pa


# Of the current folder.
RUNS_FOLDER = Path("runs")
FINETUNE_FOLDER = Path("finetune")


class NoRowsError(RunError):
    """A run that has not logged anything yet."""


def not_a_run(root: Path) -> RunError:
    """The RunError for a folder without settings; it names the run that was probably meant."""
    near = (RUNS_FOLDER / root, FINETUNE_FOLDER / root, *root.parents)
    meant = next((path for path in near if RunDirectory(path).config.is_file()), None)
    reason = f"it has no {RunDirectory(root).config.name}" if root.is_dir() else "no such folder"
    hint = "name a folder that electra train made, such as runs/NAME"
    return RunError(
        f"{root} is not a run: {reason}",
        hint=f"did you mean {as_argument(meant)}?" if meant else hint,
    )


@dataclass(frozen=True)
class RunDirectory:
    """The paths inside a run's folder, and its log. Constructing one creates no file."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved, complete settings."""
        return self.root / "config.yaml"

    @property
    def is_finetune(self) -> bool:
        """Whether `electra finetune` made it."""
        return self.config.is_file() and self.config.read_bytes().startswith(b"finetune:")

    def refuse_finetune(self) -> None:
        """Raise RunError for a fine-tune, which has a report in place of a log."""
        if self.is_finetune:
            raise RunError(
                f"{self.root} is a fine-tune: its scores are in {self.root / 'report.html'}",
                hint=f"the curves of its trainings: electra plot {as_argument(self.root)}/runs/*/*",
            )

    @property
    def environment(self) -> Path:
        """Versions, devices and git state."""
        return self.root / "environment.json"

    @property
    def log(self) -> Path:
        """A row per run.log_every steps."""
        return self.root / "training_log.csv"

    @property
    def events(self) -> Path:
        """Resumes, warnings and stops (read and written by electra_cli.run_events)."""
        return self.root / "events.jsonl"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard's event files."""
        return self.root / "tensorboard"

    @property
    def trackers(self) -> Path:
        """Under which ids the trackers know the run."""
        return self.root / "trackers.json"

    @property
    def lock(self) -> Path:
        """Locked by the process that writes the run (electra_cli.locks)."""
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
        """Folder of a network for transformers: discriminator, generator or masked_lm."""
        return self.root / name

    def checkpoint_steps(self) -> list[int]:
        """Steps of the checkpoints, ascending; none of them is opened or verified."""
        return steps_of_folders(self.checkpoints)

    def append_row(self, row: Mapping[str, float | None]) -> None:
        """Add one row to the log and flush it; None becomes an empty cell.

        A new log gets a header. A log that lacks some of the row's columns gets them first, empty
        in the rows that it has; a column that the row lacks stays empty. After a crash call
        truncate_log first, which drops a half-written line. Where an OSError says that there was
        no room, no half row is left.
        """
        header = self._read_header()
        added = [column for column in row if column not in header]
        if added:
            rows = (cells + [""] * len(added) for _, cells in self._read_rows(len(header)))
            header = [*header, *added]
            self._rewrite(header, rows)
        size = self.log.stat().st_size
        try:
            with self.log.open("a", encoding="utf-8", newline="") as file:
                file.write(_line([_cell(row.get(column)) for column in header]))
        except OSError:
            os.truncate(self.log, size)
            raise

    def count_rows(self) -> int:
        """Rows of the log; 0 without one. Raises RunError for a row of another length."""
        return sum(1 for _ in self._read_rows(len(self._read_header())))

    def read_log(self) -> dict[str, list[float | None]]:
        """The log's columns as lists, all of one length; an empty cell is None.

        Raises as read_table does.
        """
        table = self.read_table()
        return {name: table[name].to_pylist() for name in table.column_names}

    def read_table(self) -> "pa.Table":
        """The log's columns, float64, all of one length; an empty cell is null.

        A half-written last line is left out, so the log of a run that is training, or was killed,
        can be read. Raises RunError for a log that is missing or damaged, NoRowsError for a run
        that has not logged yet.

        pyarrow reads a million rows of 37 columns in 2 seconds on two cores; float() of every cell
        takes 20, numpy.loadtxt 27.
        """
        import pyarrow as pa
        from pyarrow import csv

        if not self.log.is_file() and not self.config.is_file():
            raise RunError(f"{self.root} has no {self.log.name}", hint="name the folder of a run")
        content = self.log.read_bytes() if self.log.exists() else b""
        start = content.find(b"\n") + 1
        end = content.rfind(b"\n") + 1  # what follows is a row that is being written
        header = _split_header(content[:start])
        for name in header:
            if header.count(name) > 1:
                raise RunError(f"{self.log} has two columns {name!r}", hint="correct line 1")
        if start == end:
            raise NoRowsError(
                f"{self.log} has no rows yet", hint="the first one comes after run.log_every steps"
            )
        try:
            table = csv.read_csv(
                pa.BufferReader(pa.py_buffer(content).slice(0, end)),
                read_options=csv.ReadOptions(block_size=1 << 22, column_names=header, skip_rows=1),
                parse_options=csv.ParseOptions(quote_char=False, ignore_empty_lines=False),
                convert_options=csv.ConvertOptions(
                    column_types=dict.fromkeys(header, pa.float64()), null_values=[""]
                ),
            )
        except pa.ArrowInvalid as error:
            self._check_rows(header)
            raise RunError(
                f"{self.log} cannot be read: {error}", hint="remove or correct that line"
            ) from None
        if all(column.null_count for column in table.columns):
            self._check_rows(header)  # to pyarrow an empty line is a row of empty cells
        return table

    def truncate_log(self, step: int) -> None:
        """Cut the log back to the rows with at most `step`, and drop a half-written last line.

        Atomic: a kill leaves the old log or the new one. No log is fine. Raises RunError for a
        damaged one.
        """
        header = self._read_header()
        if not header:
            return  # no log, or one whose first line was never whole: append_row starts a new one
        if "step" not in header:
            raise RunError(f"{self.log} has no column step", hint="move it away to start a new log")
        index = header.index("step")
        rows = self._read_rows(len(header))
        kept = (cells for line, cells in rows if self._number(line, "step", cells[index]) <= step)
        self._rewrite(header, kept)

    def _read_header(self) -> list[str]:
        """The log's column names; none if there is no log or its first line is not whole."""
        if not self.log.exists():
            return []
        with self.log.open("rb") as file:
            return _split_header(file.readline())

    def _read_rows(self, width: int) -> Iterator[tuple[int, list[str]]]:
        """The whole lines after the header: their numbers in the file, from 2 on, and their cells.

        No rows if `width` is 0: the log has no header. Raises RunError for a line of another width.
        """
        if width == 0:
            return
        # errors="replace": broken UTF-8 turns into a cell that is no number, and is named as such.
        with self.log.open(encoding="utf-8-sig", errors="replace") as file:
            file.readline()
            for number, line in enumerate(file, start=2):
                if not line.endswith("\n"):
                    return
                cells = line[:-1].split(",")
                if len(cells) != width:
                    raise self._damaged(number, f"{len(cells)} cells, not {width}")
                yield number, cells

    def _rewrite(self, header: Sequence[str], rows: Iterator[list[str]]) -> None:
        """Replace the log by one of this header and these rows, which may come from the log."""

        def write(file: io.RawIOBase) -> None:
            file.write(_line(header).encode())
            file.writelines(_line(cells).encode() for cells in rows)

        replace_file(self.log, write)

    def _check_rows(self, header: Sequence[str]) -> None:
        """Raise RunError that names the first line which no run writes, if there is one."""
        for line, cells in self._read_rows(len(header)):
            for column, text in zip(header, cells, strict=True):
                if text:
                    self._number(line, column, text)

    def _number(self, line: int, column: str, text: str) -> float:
        """The number in a cell. Raises RunError that names the cell if there is none."""
        try:
            return float(text)
        except ValueError:
            raise self._damaged(line, f"{column} is {text[:40]!r}, not a number") from None

    def _damaged(self, line: int, problem: str) -> RunError:
        """The error for a line that no run writes."""
        return RunError(f"{self.log}, line {line}: {problem}", hint="remove or correct that line")


def _split_header(line: bytes) -> list[str]:
    """The column names in a log's first line; none in half a line."""
    if not line.endswith(b"\n"):
        return []
    return line.decode("utf-8-sig", errors="replace").rstrip("\r\n").split(",")


def _cell(value: float | None) -> str:
    """Text that reads back as the same number."""
    return "" if value is None else str(value)  # for a float: the shortest exact text


def _line(cells: Sequence[str]) -> str:
    return ",".join(cells) + "\n"
