"""The rows of a run, as its log and as TensorBoard hold them."""

import csv
from pathlib import Path

import numpy as np

Rows = list[tuple[int, dict[str, float]]]


def rows_of_csv(run: Path) -> Rows:
    """The log with the names that trackers are given."""
    rows = []
    for row in csv.DictReader((run / "training_log.csv").open()):
        numbers = {name: float(text) for name, text in row.items() if text and name != "step"}
        named = {
            f"eval/{name.removeprefix('validation_')}" if name.startswith("validation_")
            else f"train/{name}": value
            for name, value in numbers.items()
        }  # fmt: skip
        rows.append((int(row["step"]), named))
    return rows


def rows_of_tensorboard(run: Path) -> Rows:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    held = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    held.Reload()
    rows: dict[int, dict[str, float]] = {}
    for name in held.Tags()["scalars"]:
        for event in held.Scalars(name):
            row = rows.setdefault(event.step, {})
            assert name not in row, f"step {event.step} is there twice"
            row[name] = event.value
    return sorted(rows.items())


def as_float32(rows: Rows) -> Rows:
    """TensorBoard keeps single precision."""
    return [(step, {name: float(np.float32(x)) for name, x in row.items()}) for step, row in rows]
