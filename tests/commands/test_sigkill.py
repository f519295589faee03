"""SIGKILL at random moments over the whole life of a run: it comes out the same, bit for bit."""

import os
import random
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from command_line import TINY, run_electra, start_electra
from run_checks import assert_same_run, read_rows

from electra_cli.training.checkpoint import CheckpointManager

KILLS = int(os.environ.get("KILLS", "8"))  # more of them: KILLS=50 pytest ...
SEED = 4
STEPS = 30


def where_it_was(root: Path) -> str:
    """What a killed run was doing, from what it left."""
    checkpoints = root / "checkpoints"
    if not root.exists():
        return "starting"
    if any(checkpoints.glob(".step-*")):
        return "saving"
    if any(root.glob(".*.partial")):
        return "exporting"
    if not any(checkpoints.glob("step-*")):
        return "before its first checkpoint"
    return "training" if not (checkpoints / f"step-{STEPS:08d}").exists() else "at its end"


@pytest.mark.slow
def test_a_run_killed_at_random_moments_gives_the_uninterrupted_weights(tmp_path, prepared):
    options = [
        *TINY,
        f"--set=run.num_steps={STEPS}",
        "--set=run.save_every=1",
        "--set=run.eval_every=10",
    ]
    started = time.monotonic()
    done = run_electra(tmp_path, "train", "--data", prepared, "--run-name", "whole", *options)
    life_seconds = time.monotonic() - started
    assert done.returncode == 0, done.stderr
    whole = tmp_path / "runs" / "whole"

    draw = random.Random(SEED)
    killed: Counter[str] = Counter()
    num_finished, newest_step, outcome = 0, -1, 0
    while killed.total() < KILLS or outcome != 0:
        root = tmp_path / "runs" / f"killed-{num_finished}"
        began = root.exists()
        command = ["train", "--data", prepared, "--run-name", root.name, *options]
        process = start_electra(tmp_path, *(["resume", root] if began else command))
        may_kill = killed.total() < KILLS
        moment = draw.uniform(0, life_seconds) if may_kill else 240
        started = time.monotonic()
        try:
            _, stderr = process.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            process.kill()
            _, stderr = process.communicate()
            life_seconds *= 1.1  # the machine may have become slower: reach the end now and then
        outcome = process.returncode
        if outcome == 0:
            life_seconds = (life_seconds + time.monotonic() - started) / 2  # or quicker
            assert_same_run(root, whole)
            print(f"{killed.total()} kills, {num_finished + 1} runs at their end", flush=True)
            num_finished, newest_step = num_finished + 1, -1
            continue
        assert outcome == -9, stderr
        killed[where_it_was(root) if not began or newest_step < STEPS else "resuming its end"] += 1
        manager = CheckpointManager(root / "checkpoints", keep=3)
        newest = manager.load_newest()
        if newest is not None:
            assert not newest.damaged
            assert newest.step >= newest_step  # what was saved stays saved
            newest_step = newest.step
            rows = len(read_rows(root)) if newest.checkpoint.state.log_rows else 0
            assert rows >= newest.checkpoint.state.log_rows
        else:
            assert newest_step == -1
        manager.close()
    print(f"{KILLS} kills, seed {SEED}, {num_finished} runs brought to their end: {dict(killed)}")
    assert num_finished >= 1
