"""What tests of whole runs compare, and how they damage one on purpose."""

import csv
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from electra_cli.run_directory import RunDirectory
from electra_cli.run_events import read_events
from electra_cli.training.checkpoint_damage import seal_of

TIMES = ("elapsed_seconds", "tokens_per_second")


def assert_refused(done, *parts: str, code: int = 1) -> None:
    """Exit code, no traceback, the parts in the message, and a hint as the last line."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert lines[-2].startswith("error: "), done.stderr
    assert lines[-1].startswith("  hint: "), done.stderr
    for part in parts:
        assert part in lines[-2] + lines[-1], done.stderr


def read_rows(run: Path) -> list[dict[str, str]]:
    """The log without what the clock says."""
    with RunDirectory(run).log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def final_weights(run: Path) -> dict[str, torch.Tensor]:
    newest = sorted(RunDirectory(run).checkpoints.glob("step-*"))[-1]
    return load_file(newest / "model.safetensors")


def assert_same_run(found: Path, expected: Path) -> None:
    assert read_rows(found) == read_rows(expected)
    weights, wanted = final_weights(found), final_weights(expected)
    assert weights.keys() == wanted.keys()
    assert all(torch.equal(weights[name], wanted[name]) for name in wanted)


def event_texts(run: Path, kind: str) -> list[str]:
    return [event.text for event in read_events(RunDirectory(run).events) if event.kind == kind]


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.002)
    raise AssertionError(f"{what} did not come")


def wait_for_rows(log: Path, count: int) -> None:
    wait_until(
        lambda: log.exists() and log.read_text().count("\n") > count, f"row {count} of {log}"
    )


def damage(file: Path, how: str) -> None:
    content = bytearray(file.read_bytes())
    if how == "truncate":
        file.write_bytes(content[: len(content) // 2])
    elif how == "flip":
        content[len(content) // 2] ^= 0x10
        file.write_bytes(content)
    elif how == "zero":
        file.write_bytes(bytes(len(content)))
    else:
        file.unlink()


def change_weight(checkpoint: Path, name: str, change: Callable[[torch.Tensor], object]) -> None:
    """Change a weight of a checkpoint, and make it whole again."""
    file = checkpoint / "model.safetensors"
    tensors = load_file(file)
    change(tensors[name])
    save_file(tensors, file)
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    manifest["sha256"][file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    manifest["manifest_sha256"] = seal_of(manifest)
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))
