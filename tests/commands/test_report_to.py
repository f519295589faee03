"""run.report_to through the real command: what the packages hold afterwards, on local files."""

import math
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import TINY, electra_command, electra_environment, run_electra
from run_checks import assert_refused, read_rows, wait_for_rows, wait_until
from tracked_rows import Rows, as_float32, rows_of_csv, rows_of_tensorboard


@pytest.fixture(autouse=True)
def local_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))


def rows_of_trackio(folder: Path) -> Rows:
    import json

    with sqlite3.connect(folder / "trackio" / "electra.db") as database:
        held = database.execute("SELECT step, metrics FROM metrics ORDER BY step").fetchall()
    return [(step, json.loads(metrics)) for step, metrics in held]


def rows_of_mlflow(folder: Path) -> Rows:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("electra")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    rows: dict[int, dict[str, float]] = {}
    for name in run.data.metrics:
        for metric in client.get_metric_history(run.info.run_id, name):
            row = rows.setdefault(metric.step, {})
            assert name not in row, f"step {metric.step} is there twice"
            row[name] = metric.value
    assert run.data.params["run.batch_size"] == "8"
    return sorted(rows.items())


def signal_after(
    folder: Path, number: int, rows: int, is_ready: Callable[[], bool], *arguments: object
) -> int:
    """Run a command until the log has so many rows and more; signal its group, as Ctrl-C does.

    Returns the exit code, once no process of the group is left.
    """
    with subprocess.Popen(
        electra_command(*arguments), cwd=folder, env=electra_environment(), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        log = folder / "runs" / "one" / "training_log.csv"
        wait_for_rows(log, rows)
        wait_until(is_ready, "what was to be there")
        time.sleep(1)  # for rows to reach the packages, some beyond the last checkpoint
        assert process.poll() is None
        if number == signal.SIGKILL:
            process.kill()  # and no other process of the group
        else:
            os.killpg(process.pid, number)
        process.wait()
    wait_until(lambda: not is_there(process.pid), "the end of the group", seconds=10)
    return process.returncode


def is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_after_two_kills_every_tracker_holds_the_rows_of_the_log(tmp_path, prepared):
    options = [
        *TINY, "--set=run.num_steps=1800", "--set=run.log_every=30", "--set=run.eval_every=150",
        "--set=run.save_every=300", "--set=run.report_to=[tensorboard,trackio,mlflow,wandb]",
    ]  # fmt: skip
    run = tmp_path / "runs" / "one"
    resume = ("resume", run)

    def is_creating() -> bool:
        return any(tmp_path.glob("*mlflow.db*"))

    def is_open() -> bool:
        return "mlflow" in (run / "trackers.json").read_text()

    train = ("train", "--data", prepared, "--run-name", "one", *options)
    signal_after(tmp_path, signal.SIGKILL, 14, is_creating, *train)
    signal_after(tmp_path, signal.SIGKILL, 30, is_open, *resume)
    assert signal_after(tmp_path, signal.SIGINT, 40, is_open, *resume) == 130
    assert rows_of_tensorboard(run) == as_float32(rows_of_csv(run))
    assert rows_of_trackio(tmp_path) == rows_of_mlflow(tmp_path) == rows_of_csv(run)
    done = run_electra(tmp_path, *resume)
    assert done.returncode == 0, done.stderr
    assert "failed" not in done.stderr
    assert done.stdout == f"{run}\n"  # what the packages print is not data
    expected = rows_of_csv(run)
    assert [step for step, _ in expected] == list(range(30, 1801, 30))
    assert rows_of_tensorboard(run) == as_float32(expected)
    assert rows_of_trackio(tmp_path) == expected
    assert rows_of_mlflow(tmp_path) == expected
    # One a process; the first may have been killed before it began.
    assert len(list(tmp_path.glob("wandb/offline-run-*/*.wandb"))) in (3, 4)


@pytest.mark.slow
def test_a_tracker_named_at_a_resume_gets_the_earlier_rows(run_copy):
    done = run_electra(
        run_copy.parent, "resume", run_copy, "--step", 5, "--set", "run.report_to=tensorboard"
    )
    assert done.returncode == 0, done.stderr
    assert rows_of_tensorboard(run_copy) == as_float32(rows_of_csv(run_copy))


def test_a_package_that_is_not_installed_is_named_before_anything_is_made(
    tmp_path, prepared, electra, monkeypatch
):
    monkeypatch.setitem(sys.modules, "trackio", None)  # as if it were not there
    (tmp_path / "mine.yaml").write_text("run:\n  report_to: [trackio]\n")
    for command in (["train", *TINY], ["tune", "--trials", 1]):
        done = electra(*command, "--preset", "mine.yaml", "--data", prepared)
        assert_refused(done, "report_to names trackio", "pip install 'electra-cli[trackio]'")
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_tracker_that_fails_warns_once_and_the_run_ends_well(tmp_path, prepared, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://nowhere")
    done = run_electra(
        tmp_path, "train", "--data", prepared, "--run-name", "one", *TINY,
        "--set=run.report_to=mlflow",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("mlflow failed:") == 1
    assert "Traceback" not in done.stderr
    assert math.isfinite(float(read_rows(tmp_path / "runs" / "one")[-1]["loss"]))


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


# In a process of its own, whose end is that of the trackers' process.
LOGGER = """
import os, signal, sys, time
from pathlib import Path
from electra_cli.presets import load_config
from electra_cli.run_directory import RunDirectory
from electra_cli.runs.trackers import TrackedRun
from electra_cli.runs.tracking import TrackingLogger

run = RunDirectory(Path(sys.argv[1]))
tracked = TrackedRun(run, "one", load_config(run.config).as_json())
logger = TrackingLogger(["mlflow"], tracked, max_wait_seconds=3)
started = time.monotonic()
logger.append_row({"step": 1, "loss": 1.0})
print(time.monotonic() - started)
while not (children := "".join(x.read_text() for x in Path("/proc/self/task").glob("*/children"))):
    time.sleep(0.01)
if "kill" in sys.argv:
    os.kill(int(children), signal.SIGKILL)
logger.close()
"""


def run_logger(run: Path, *more: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", LOGGER, run, *more], capture_output=True, text=True, timeout=100,
        check=False, env=electra_environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1  # seconds that training waited for it
    return done


@pytest.mark.slow
def test_a_tracker_that_hangs_is_waited_for_so_long_and_no_longer(
    run_copy, silent_server, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", silent_server)
    done = run_logger(run_copy)
    assert done.stderr.count("waiting for mlflow") == 1
    assert done.stderr.count("mlflow did not answer") == 1


def test_a_process_of_the_trackers_that_is_killed_costs_a_warning(run_copy):
    done = run_logger(run_copy, "kill")
    assert done.stderr.count("warning:") == done.stderr.count("process of report_to has ended") == 1
