"""Runs in several real processes on gloo: the same numbers, stops, faults and resumes.

A process takes seconds to start, so that each run serves several assertions. What single faults
do, many times over, tells `python tests/process_faults.py`.
"""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command_line import TINY, electra_command, electra_environment, run_electra
from launched import NO_DATA, SLOW_STEPS, Launched
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


def train(folder: Path, prepared: Path, count: int, planted: str = "", *more: str) -> Launched:
    several = ["--processes", count] if count > 1 else []
    arguments = ["train", "--data", prepared, "--run-name", "run", *several, *OPTIONS, *more]
    return Launched(folder, *arguments, planted=planted)


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
    ended = train(folder, prepared, count).end()
    assert ended.code == 0, ended.stderr
    assert ended.stdout == "runs/run\n"
    assert ended.stderr.count("step 12 held-out") == 1
    if count > 1:
        assert f"{count}, {-(-8 // count)} windows each" in ended.stderr
        assert "to add up gradients" in ended.stderr
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
    """2, 1, 3 processes; a signal to one process stops all at the same step."""
    stop = "os.kill(os.getpid(), signal.SIGUSR1)"
    planted = "import signal\n" + AT_STEP.format(step=4, rank=1, what=stop)
    ended = train(tmp_path, prepared, 2, planted).end()
    assert (ended.code, ended.errors) == (130, [])
    assert ended.stderr.count("stopped and saved at step 5") == 1
    run = tmp_path / "runs" / "run"
    assert read_status(run).checkpoint == 5
    planted = "import signal\n" + AT_STEP.format(step=8, rank=0, what=stop)
    alone = Launched(tmp_path, "resume", "runs/run", planted=planted, environment={"RANK": "0"})
    assert alone.end().code == 130
    assert read_status(run).checkpoint == 9
    ended = Launched(tmp_path, "resume", "runs/run", "--processes=3").end()
    assert ended.code == 0, ended.stderr
    assert_near(run, world(1))
    resumed = event_texts(run, "resumed")
    assert ["processes 2 -> 1" in resumed[0], "processes 1 -> 3" in resumed[1]] == [True, True]


def test_a_killed_process_ends_the_others_and_the_run_resumes_bit_for_bit(
    tmp_path, prepared, world
):
    kill = "os.kill(os.getpid(), signal.SIGKILL)"
    planted = "import signal\n" + AT_STEP.format(step=7, rank=1, what=kill)
    ended = train(tmp_path, prepared, 2, planted).end()
    (error,) = ended.errors
    assert ended.code == 1
    assert error.startswith("error: process 1 on ")
    assert error.endswith(" ended with SIGKILL")
    assert ended.stderr.splitlines()[-1] == "  hint: go on with: electra resume runs/run"
    run = tmp_path / "runs" / "run"
    assert read_status(run).state == "stopped"
    ended = Launched(tmp_path, "resume", "runs/run", "--processes=2").end()
    assert ended.code == 0, ended.stderr
    assert_same_run(run, world(2))
    ended = Launched(tmp_path, "resume", "runs/run", "--verify", "--processes=2").end()
    assert ended.code == 0, ended.stderr
    assert "came out the same, bit for bit" in ended.stdout
    done = run_electra(tmp_path, "resume", "runs/run", "--verify")
    assert_refused(done, "came out differently", "and 2 processes trained them, not 1")


def test_a_killed_launcher_leaves_no_orphan_and_a_saved_run(tmp_path, prepared):
    launched = train(tmp_path, prepared, 2, SLOW_STEPS.format(seconds=0.2), "--steps=500")
    workers = launched.wait_for_workers(2)
    wait_for_rows(tmp_path / "runs" / "run" / "training_log.csv", 7)
    launched.process.send_signal(signal.SIGKILL)
    ended = launched.end(*workers.values())
    assert ended.stderr.count("SIGTERM: stopped and saved at step") == 1
    assert ended.seconds < 5
    assert (read_status(tmp_path / "runs" / "run").checkpoint or 0) > 5


def test_a_process_that_hangs_is_ended_once_a_stop_is_asked_for(tmp_path, prepared):
    hang = "open('hangs', 'w').close(); os.kill(os.getpid(), signal.SIGSTOP)"
    planted = "import signal\n" + AT_STEP.format(step=7, rank=1, what=hang)
    launched = train(tmp_path, prepared, 2, planted)
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
    ended = train(tmp_path, prepared, 2, NO_DATA).end()
    (error,) = ended.errors
    assert ended.code == 1
    assert error.startswith("error: process 1 on ")
    assert error.endswith(": there is no such folder")
    assert not (tmp_path / "runs").exists()
    ended = train(tmp_path, prepared, 2, "", "--set=run.batch_size=1").end()
    assert ended.code == 1
    assert ended.errors == ["error: 2 processes cannot share 1 windows per step"]


def test_processes_of_another_launcher_train_the_same_run(tmp_path, prepared, world):
    """What srun does: plain variables, no agent."""
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port())}
    arguments = ["train", "--data", prepared, "--run-name", "run", *OPTIONS]
    folders = [tmp_path, tmp_path / "other"]  # the second one writes nothing
    folders[1].mkdir()
    started = [
        Launched(folder, *arguments, environment={**place, "RANK": str(rank)})
        for rank, folder in enumerate(folders)
    ]
    first, second = [each.end() for each in started]
    assert (first.code, second.code) == (0, 0), first.stderr + second.stderr
    assert (second.stdout, second.stderr) == ("", "")
    assert not (folders[1] / "runs").exists()
    assert_same_run(tmp_path / "runs" / "run", world(2))


def test_a_port_that_another_program_has_is_said(tmp_path):
    with socket.create_server(("localhost", 0)) as server:
        port = str(server.getsockname()[1])
        place = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
        ended = Launched(tmp_path, "train", environment=place).end()
    (error,) = ended.errors
    assert (ended.code, "Traceback" in ended.stderr) == (1, False)
    assert f" does not reach the others at localhost:{port}: " in error


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return int(found.getsockname()[1])


@pytest.mark.parametrize("count", ["0", "many", "gpus"])
def test_a_number_of_processes_that_cannot_be_is_refused(tmp_path, count):
    done = subprocess.run(
        electra_command("train", "--processes", count),
        cwd=tmp_path, env=electra_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert_refused(done, "GPU" if count == "gpus" else f"--processes {count}")


def test_a_process_of_a_launcher_starts_no_others(tmp_path, world):
    copy = shutil.copytree(world(1), tmp_path / "run")
    for command in (["train"], ["resume", str(copy)]):
        done = subprocess.run(
            electra_command(*command, "--processes=2"), cwd=tmp_path, capture_output=True,
            env={**electra_environment(), "RANK": "0", "WORLD_SIZE": "2"}, text=True, check=False,
        )  # fmt: skip
        assert_refused(done, "that a launcher started")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
