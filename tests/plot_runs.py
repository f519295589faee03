"""Runs as training would have left them, written in milliseconds, and what a page says of them."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from electra_cli.disk import step_folder
from electra_cli.metrics import UNIGRAM_ENTROPY, StepMetrics, log_row
from electra_cli.model.objectives.registry import metric_names
from electra_cli.plotting.run_log import RunLog
from electra_cli.run_directory import RunDirectory


def log_columns() -> tuple[str, ...]:
    """Every column of a log."""
    step, held_out = metric_names()
    nothing = StepMetrics(0, 0, 0, 0, 0, dict.fromkeys(step), 0, 0, 0)
    return tuple(log_row(nothing, dict.fromkeys((*held_out, UNIGRAM_ENTROPY))))


LOG_COLUMNS = log_columns()


def row_at(step: int) -> dict[str, float | None]:
    """A row with every column: curves that fall, wave and are evaluated at each fifth step."""
    wave = 0.1 * math.sin(step)
    row: dict[str, float | None] = dict.fromkeys(LOG_COLUMNS, 0.5 + wave)
    row |= {"step": step, "tokens_seen": 1000 * step, "train_flops": 1e13 * step}
    row |= {"elapsed_seconds": 36.0 * step, "mlm_loss": 2 + 8 / step + wave}
    row |= {"learning_rate": 1e-4 / step, "tokens_per_second": 45_000 + 100 * wave}
    if step % 5:
        row |= {column: None for column in LOG_COLUMNS if column.startswith("validation_")}
    return row


def write_log(root: Path, rows: int = 20, drop: tuple[str, ...] = ()) -> Path:
    """A run's folder that holds a log and nothing else."""
    root.mkdir(parents=True)
    for step in range(1, rows + 1):
        row = row_at(step)
        RunDirectory(root).append_row({key: row[key] for key in row if key not in drop})
    return root


def add_config(root: Path, **sections: dict[str, Any]) -> Path:
    """Settings as YAML, which JSON is."""
    RunDirectory(root).config.write_text(json.dumps(sections))
    return root


def add_checkpoints(root: Path, *steps: int) -> Path:
    for step in steps:
        step_folder(RunDirectory(root).checkpoints, step).mkdir(parents=True)
    return root


def run_of(name: str, **columns: list[float]) -> RunLog:
    """A run in memory, without a folder."""
    return RunLog(name, {key: np.array(values, dtype=float) for key, values in columns.items()})


def runs_of(page: str) -> list[dict[str, Any]]:
    """The data that the page draws, one entry per run."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    return list(json.loads(found[1])["runs"])
