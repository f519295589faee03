"""Runs in several real processes on gloo: the same numbers, stops, faults and resumes.

A launcher's processes take seconds to start, so that most are forked, with the variables that a
launcher sets; and each run serves several assertions. What single faults
do, many times over, tells `python tests/process_faults.py`.
"""

import fcntl
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command_line import TIMEOUT_SECONDS, TINY, run_electra
from launched import NO_DATA, SLOW_STEPS, Launched, fork_process, run_together
from run_checks import (
    assert_refused,
    assert_same_run,
    event_texts,
    final_weights,
    read_rows,
    wait_for_rows,
    wait_until,
)

from electra_cli.runs.status import read_status

pytestmark = pytest.mark.slow

# With dropout, and one window per micro-batch: 1, 2 and 3 processes have the same micro-batches.
OPTIONS = [*TINY, "--set=run.micro_batch_size=1", "--set=run.log_every=1"]
AT_STEP = """
from electra_cli.training.trainer import Trainer
import time
step = Trainer.train_step
def planted(self, batches):
    if self.step == {step} and os.environ["RANK"] == "{rank}":
        {what}
    step(self, batches)
Trainer.train_step = planted
"""


LOOKS_LATE = """
if os.environ["RANK"] == "2":
    from electra_cli.training.watch import Watch
    find = Watch._find_lost
    def late(self):
        time.sleep(4)
        return find(self)
    Watch._find_lost = late
"""


def command(prepared: Path, *more: object) -> list[object]:
    return ["train", "--data", prepared, "--run-name", "run", *OPTIONS, *more]


@pytest.fixture(scope="session")
def world(prepared, tmp_path_factory) -> Callable[[int], Path]:
    """The folder of an uninterrupted run by its number of processes: made once for all workers."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def run_of(count: int) -> Path:
        folder = shared / f"world-of-{count}"
        folder.mkdir(exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / "whole").exists():
                train_whole(folder, prepared, count)
                (folder / "whole").touch()
        return folder / "runs" / "run"

    return run_of


def train_whole(folder: Path, prepared: Path, count: int) -> None:
    first, *others = run_together(folder, count, *command(prepared))
    assert first.code == 0, first.stderr
    assert first.stdout == "runs/run\n"
    assert first.stderr.count("step 12 held-out") == 1
    assert {(each.code, each.stdout, each.stderr) for each in others} <= {(0, "", "")}
    if count > 1:
        assert f"{count}, {-(-8 // count)} windows each" in first.stderr
        assert "to add up gradients" in first.stderr
        described = (folder / "runs" / "run" / "environment.json").read_text()
        assert f'"processes": {count}' in described
        assert '"hosts": [' in described


def assert_near(found: Path, wanted: Path) -> None:
    for row, expected in zip(read_rows(found), read_rows(wanted), strict=True):
        for name, value in expected.items():
            near = (
                pytest.approx(float(value), rel=1e-4 if name == "grad_norm" else 1e-5)
                if value
                else ""
            )
            assert (float(row[name]) if row[name] else "") == near, (row["step"], name)
    for name, weight in final_weights(wanted).items():
        torch.testing.assert_close(final_weights(found)[name], weight, rtol=0, atol=1e-5)


def test_the_numbers_are_those_of_one_process(world):
    for count in (2, 3):
        assert_near(world(count), world(1))


def test_a_run_goes_on_with_another_number_of_processes(tmp_path, prepared, world):
    """2, 1, 3, 2 processes; what stops one of them stops all at the same step."""
    stop = "import signal; os.kill(os.getpid(), signal.SIGUSR1)"
    time_is_up = "from electra_cli import stopping; stopping._active._max_minutes = 0"
    resume, run = ["resume", "runs/run", "--max-minutes=60"], tmp_path / "runs" / "run"
    for count, arguments, step, rank, what in (
        (2, command(prepared), 4, 1, stop),
        (1, resume, 7, 0, stop),
        (3, resume, 9, 1, time_is_up),
    ):
        planted = AT_STEP.format(step=step, rank=rank, what=what)
        first, *others = run_together(tmp_path, count, *arguments, planted=planted)
        assert (first.code, first.errors) == (130, []), first.stderr
        assert first.stderr.count(f"stopped and saved at step {step + 1}\n") == 1
        assert {(each.code, each.stderr) for each in others} <= {(130, "")}
        assert read_status(run).checkpoint == step + 1
    first, _ = run_together(tmp_path, 2, *resume)
    assert first.code == 0, first.stderr
    assert_near(run, world(1))
    texts = event_texts(run, "resumed")
    for text, numbers in zip(texts, ("2 -> 1", "1 -> 3", "3 -> 2"), strict=True):
        assert f"processes {numbers}" in text


def test_a_killed_process_ends_the_others_and_the_run_resumes_bit_for_bit(
    tmp_path, prepared, world
):
    kill = "import signal; os.kill(os.getpid(), signal.SIGKILL)"
    planted = AT_STEP.format(step=7, rank=1, what=kill)
    ended = Launched(tmp_path, *command(prepared, "--processes=2"), planted=planted).end()
    (error,) = ended.errors
    assert ended.code == 1
    assert error.startswith("error: process 1 on ")
    assert error.endswith(" ended with SIGKILL")
    assert ended.stderr.splitlines()[-1] == "  hint: go on with: electra resume runs/run"
    run = tmp_path / "runs" / "run"
    assert read_status(run).state == "stopped"
    ended = Launched(tmp_path, "resume", "runs/run", "--processes=2").end()
    assert (ended.code, ended.stdout) == (0, "runs/run\n"), ended.stderr
    assert_same_run(run, world(2))
    first, _ = run_together(tmp_path, 2, "resume", "runs/run", "--verify")
    assert first.code == 0, first.stderr
    assert "came out the same, bit for bit" in first.stdout
    done = run_electra(tmp_path, "resume", "runs/run", "--verify")
    assert_refused(done, "came out differently", "and 2 processes trained them, not 1")


@pytest.mark.parametrize("more", ["", LOOKS_LATE], ids=["at once", "one looks late"])
def test_a_process_that_is_gone_is_named_where_no_agent_looks(tmp_path, prepared, more):
    kill = "import signal; os.kill(os.getpid(), signal.SIGKILL)"
    planted = AT_STEP.format(step=7, rank=1, what=kill) + more
    first, second, third = run_together(tmp_path, 3, *command(prepared), planted=planted)
    assert (first.code, second.code, third.code) == (1, -9, 1)
    (error,) = first.errors + third.errors
    assert error.startswith("error: process 1 on ")
    assert error.endswith(" is gone")


def test_a_killed_launcher_leaves_no_orphan_and_a_saved_run(tmp_path, prepared):
    slow = SLOW_STEPS.format(seconds=0.2)
    launched = Launched(
        tmp_path, *command(prepared, "--set=run.num_steps=500", "--processes=2"), planted=slow
    )
    workers = launched.wait_for_workers(2)
    wait_for_rows(tmp_path / "runs" / "run" / "training_log.csv", 7)
    launched.process.send_signal(signal.SIGKILL)
    ended = launched.end(*workers.values())
    assert ended.stderr.count("SIGTERM: stopped and saved at step") == 1
    assert ended.seconds < 5
    assert (read_status(tmp_path / "runs" / "run").checkpoint or 0) > 5


def test_a_process_that_hangs_is_ended_once_a_stop_is_asked_for(tmp_path, prepared):
    hang = "import signal; open('hangs', 'w').close(); os.kill(os.getpid(), signal.SIGSTOP)"
    planted = AT_STEP.format(step=7, rank=1, what=hang)
    launched = Launched(tmp_path, *command(prepared, "--processes=2"), planted=planted)
    workers = launched.wait_for_workers(2)
    wait_until((tmp_path / "hangs").exists, "the hanging process")
    launched.process.send_signal(signal.SIGTERM)
    ended = launched.end(*workers.values())
    (error,) = ended.errors
    assert ended.code == 1
    assert error.startswith("error: process 1 on ")
    assert error.endswith("does not answer")
    assert ended.seconds < 10


def test_an_error_of_one_process_is_said_once_and_by_name(tmp_path, prepared):
    ended = Launched(tmp_path, *command(prepared, "--processes=2"), planted=NO_DATA).end()
    (error,) = ended.errors
    assert ended.code == 1
    assert error.startswith("error: process 1 on ")
    assert error.endswith(": there is no such folder")
    assert not (tmp_path / "runs").exists()


def test_an_error_of_all_processes_is_said_once(tmp_path, prepared):
    ended = run_together(tmp_path, 2, *command(prepared, "--set=run.batch_size=1"))
    assert [each.code for each in ended] == [1, 1]
    assert [each.errors for each in ended] == [
        ["error: 2 processes cannot share 1 windows per step"],
        [],
    ]


def test_a_port_that_another_program_has_is_said(tmp_path):
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
        process = fork_process(tmp_path, 0, 2, port, "train")
        _, stderr = process.communicate(TIMEOUT_SECONDS)
    assert (process.wait(), "Traceback" in stderr) == (1, False)
    assert f" does not reach the others at localhost:{port}: " in stderr


@pytest.mark.parametrize("count", ["0", "-1", "many", "gpus"])
def test_a_number_of_processes_that_cannot_be_is_refused(tmp_path, count):
    done = run_electra(tmp_path, "train", "--processes", count)
    assert_refused(done, "GPU" if count == "gpus" else f"--processes {count}")


def test_a_process_of_a_launcher_starts_no_others(tmp_path, finished, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for command in (["train"], ["resume", finished.root]):
        done = run_electra(tmp_path, *command, "--processes=2")
        assert_refused(done, "that a launcher started")
    assert not any(tmp_path.iterdir())
