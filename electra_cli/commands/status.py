"""`electra status`: how runs are doing."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from electra_cli import console
from electra_cli.run_directory import RUNS_FOLDER
from electra_cli.runs.status import RunStatus, find_runs, read_status

_COLUMNS = ("run", "state", "step", "left", "tokens/s", "held-out", "saved", "disk")


def status(roots: Sequence[Path], as_json: bool) -> None:
    """Print a table of these runs, or of all under runs/; as JSON a list of RunStatus."""
    statuses = [read_status(root) for root in roots or find_runs(RUNS_FOLDER)]
    if as_json:
        console.result_json([asdict(one) for one in statuses])
        return
    if not statuses:
        console.talk(f"there are no runs under {RUNS_FOLDER}/")
        console.hint("start one: electra train --preset tiny")
        return
    console.result_table(_COLUMNS, map(_line_of, statuses))
    for one in statuses:
        if one.reason is not None:
            console.talk(f"{one.run}: {one.state}: {one.reason}")
        for text in one.warnings:
            console.talk(f"{one.run}: warning: {text}")


def _line_of(one: RunStatus) -> list[str]:
    steps = f"{one.step:,}" + ("" if one.num_steps is None else f"/{one.num_steps:,}")
    left = None if one.seconds_left is None else console.format_duration(one.seconds_left)
    pace = None if one.tokens_per_second is None else f"{one.tokens_per_second:,.0f}"
    saved = None if one.checkpoint is None else f"{one.checkpoint:,}"
    cells = (steps, left, pace, _held_out(one), saved, console.format_bytes(one.disk_bytes))
    return [one.run, one.state, *(cell or "–" for cell in cells)]


def _held_out(one: RunStatus) -> str | None:
    """Both networks' losses, as the progress line has them; of other objectives the only one."""
    mlm, rtd = one.held_out.get("mlm_masked_loss"), one.held_out.get("rtd_loss")
    named = (("mlm", mlm), ("rtd", rtd)) if rtd is not None else (("", one.held_out.get("loss")),)
    return " ".join(f"{name} {loss:.3f}".strip() for name, loss in named if loss is not None)
