"""Searches that are killed, and searches that several processes share."""

import csv
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
from command_line import run_electra, start_electra, write_preset
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from electra_cli.errors import RunError
from electra_cli.locks import hold_run
from electra_cli.tuning.storage import (
    GRACE_SECONDS,
    HEARTBEAT_SECONDS,
    open_storage,
    retry_trial,
)
from electra_cli.tuning.study import HOST, create_locked_run, fail_dead_trials, trial_directory

SEARCH = ("tune", "--preset", "mini.yaml", "--pruner", "none")


def read_trials(folder: Path) -> list[dict[str, str]]:
    with (folder / "tune" / "mini" / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def search_folder(tmp_path: Path, prepared: Path, num_steps: int = 12) -> Path:
    """A folder to search in; trials of more steps are easier to catch at work."""
    write_preset(tmp_path / "mini.yaml", data__directory=prepared, run__num_steps=num_steps)
    return tmp_path


LONG = 40


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 200
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.002)


SETTINGS = ("optim.learning_rate", "objective.mask_fraction", "run.batch_size")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "storage"),
    [(signal.SIGKILL, "sqlite:///tune/mini.db"), (signal.SIGHUP, "tune/mini.journal")],
)
def test_a_killed_search_goes_on_and_tries_the_interrupted_trial_again(
    tmp_path, prepared, number, storage
):
    folder = search_folder(tmp_path, prepared, LONG)
    process = start_electra(folder, *SEARCH, "--trials=4", f"--storage={storage}")
    wait_for(folder / "tune" / "mini" / "trial-0002" / "training_log.csv")
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGHUP else -number), stderr
    again = run_electra(folder, *SEARCH, "--trials=4", f"--storage={storage}")
    assert again.returncode == 0, again.stderr
    rows = read_trials(folder)
    assert [row["state"] for row in rows] == [
        "complete", "complete", "interrupted", "complete", "complete"
    ]  # fmt: skip
    (retried,) = (row for row in rows if row["retry_of"])
    assert retried["retry_of"] == "2"
    assert [retried[name] for name in SETTINGS] == [rows[2][name] for name in SETTINGS]
    assert len({row["optim.learning_rate"] for row in rows}) == 4


@pytest.mark.slow
def test_a_search_killed_in_its_first_trial_begins_with_the_preset_again(tmp_path, prepared):
    folder = search_folder(tmp_path, prepared, LONG)
    process = start_electra(folder, *SEARCH, "--trials=2")
    wait_for(folder / "tune" / "mini" / "trial-0000" / "training_log.csv")
    process.kill()
    process.communicate(timeout=60)
    again = run_electra(folder, *SEARCH, "--trials=2")
    assert again.returncode == 0, again.stderr
    rows = read_trials(folder)
    assert [(row["state"], row["is_preset"]) for row in rows] == [
        ("interrupted", "True"),
        ("complete", "True"),
        ("complete", "False"),
    ]


def search_with_two(folder: Path, *options: str) -> list[dict[str, str]]:
    """Two processes on one study, started at once -> its trials."""
    workers = [start_electra(folder, *SEARCH, *options) for _ in range(2)]
    for worker in workers:
        stdout, stderr = worker.communicate(timeout=400)
        assert worker.returncode == 0, stderr
        assert stdout.strip() == "tune/mini/best.yaml"
    return read_trials(folder)


def assert_shared(rows: list[dict[str, str]], total: int) -> None:
    started = [row for row in rows if row["state"] != "skipped"]
    assert [row["state"] for row in started] == ["complete"] * total
    assert len({row["pid"] for row in started}) == 2
    assert sum(row["is_preset"] == "True" for row in started) == 1
    assert len({row["optim.learning_rate"] for row in started}) == total


@pytest.mark.slow
def test_two_processes_share_a_study_in_sqlite(tmp_path, prepared):
    folder = search_folder(tmp_path, prepared)
    assert_shared(search_with_two(folder, "--trials=6"), 6)


@pytest.mark.slow
def test_two_processes_share_a_journal_file(tmp_path, prepared):
    folder = search_folder(tmp_path, prepared)
    assert_shared(search_with_two(folder, "--trials=6", "--storage=disk/mini.journal"), 6)


class PostgresServer:
    """A server of its own, reached through a socket in its folder."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._folder = folder
        self._binaries = binaries
        self._as_user: dict[str, Any] = {}
        folder.mkdir()
        if os.geteuid() == 0:  # the server refuses to run as root
            shutil.chown(folder, "postgres", "postgres")
            self._as_user = {"user": "postgres", "group": "postgres", "extra_groups": []}
        command = ["initdb", "--pgdata=data", "--username=electra", "--auth=trust", "--no-sync"]
        subprocess.run(
            [binaries / command[0], *command[1:]],
            cwd=folder,
            check=True,
            capture_output=True,
            **self._as_user,
        )
        self.url = f"postgresql+psycopg://electra@/postgres?host={folder}"

    def start(self) -> None:
        options = ["-D", "data", "-k", str(self._folder), "-c", "listen_addresses=", "-F"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", *options],
                cwd=self._folder,
                stdout=log,
                stderr=log,
                **self._as_user,
            )
        ready = [self._binaries / "pg_isready", "--host", str(self._folder), "--quiet"]
        deadline = time.monotonic() + 60
        while subprocess.run(ready, check=False).returncode:
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)  # fast shutdown: it drops its clients
        self._process.wait(timeout=60)


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    pytest.importorskip("psycopg", reason="psycopg is not installed (pip install psycopg[binary])")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = shutil.which("initdb") or (found[-1] if found else None)
    if initdb is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    # Not below pytest's own folders: those are closed to other users, and a socket's path is short.
    with tempfile.TemporaryDirectory(prefix="electra-") as parent:
        Path(parent).chmod(0o755)
        server = PostgresServer(Path(initdb).resolve().parent, Path(parent) / "pg")
        server.start()
        yield server
        server.stop()


@pytest.mark.slow
def test_two_processes_share_a_study_in_postgresql(tmp_path, prepared, postgres):
    folder = search_folder(tmp_path, prepared)
    rows = search_with_two(folder, "--trials=6", f"--storage={postgres.url}")
    assert_shared(rows, 6)
    study = optuna.load_study(study_name="mini", storage=postgres.url)
    assert len(study.trials) == len(rows)
    assert not (folder / "tune" / "mini.db").exists()


@pytest.mark.slow
def test_a_server_that_goes_away_is_explained_and_the_study_goes_on_later(
    tmp_path, prepared, postgres
):
    folder = search_folder(tmp_path, prepared, LONG)
    storage = f"--storage={postgres.url.replace('electra@', 'electra:secret@')}"
    options = ("--study=away", "--trials=3", storage)
    process = start_electra(folder, *SEARCH, *options)
    wait_for(folder / "tune" / "away" / "trial-0001" / "training_log.csv")
    postgres.stop()
    stdout, stderr = process.communicate(timeout=200)
    postgres.start()
    assert process.returncode == 1, stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    problem, hint = stderr.strip().splitlines()[-2:]
    assert "electra:***@" in problem
    assert "the study goes on with the same command when it is back" in hint
    again = run_electra(folder, *SEARCH, *options)
    assert again.returncode == 0, again.stderr
    assert "trial 2 complete" in again.stderr
    assert "secret" not in stderr + again.stderr


@pytest.mark.slow
def test_a_process_that_was_stopped_too_long_leaves_its_trial_to_the_others(tmp_path, prepared):
    folder = search_folder(tmp_path, prepared, LONG)
    sleeper = start_electra(folder, *SEARCH, "--trials=4")
    wait_for(folder / "tune" / "mini" / "trial-0001" / "training_log.csv")
    sleeper.send_signal(signal.SIGSTOP)
    try:
        age_heartbeats(folder / "tune", "sqlite")
        other = run_electra(folder, *SEARCH, "--trials=4")
        assert other.returncode == 0, other.stderr
    finally:
        sleeper.send_signal(signal.SIGCONT)
    _, stderr = sleeper.communicate(timeout=200)
    assert sleeper.returncode == 0, stderr
    assert "trial 1 looked dead to another process and is tried again" in stderr
    rows = read_trials(folder)
    assert [row["state"] for row in rows] == ["complete", "interrupted", *["complete"] * 3]
    assert [row["trial"] for row in rows if row["retry_of"] == "1"] == ["2"]


# Heartbeats, without training


def begin_trial(study: optuna.Study) -> optuna.Trial:
    """A running trial with a setting, as a process leaves it that is killed."""
    with suppress(UserWarning):
        trial = study.ask()
    trial.suggest_float("optim.learning_rate", 1e-4, 1e-2)
    return trial


def record_heartbeat(storage: BaseStorage, trial: optuna.Trial) -> None:
    study_id = storage.get_study_id_from_name("mini")
    trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, trial.number)
    storage.record_heartbeat(trial_id)


def age_heartbeats(folder: Path, kind: str) -> None:
    """As if the last ones had come long ago."""
    if kind == "sqlite":
        long_ago = f"-{GRACE_SECONDS + 5} seconds"
        with sqlite3.connect(folder / "mini.db", timeout=60) as database:
            change = "UPDATE trial_heartbeats SET heartbeat = datetime('now', ?)"
            database.execute(change, (long_ago,))
        return
    path = folder / "mini.journal"
    long_ago = rf"\g<1>{time.time() - GRACE_SECONDS - 5}"
    path.write_text(re.sub(r'("electra:heartbeat":)[0-9.]+', long_ago, path.read_text()))


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_trial_without_heartbeats_is_failed_and_queued_again(tmp_path, kind):
    name = f"sqlite:///{tmp_path}/mini.db" if kind == "sqlite" else str(tmp_path / "mini.journal")
    storage = open_storage(name)
    study = optuna.create_study(study_name="mini", storage=storage)
    dead, alive = begin_trial(study), begin_trial(study)
    for trial in (dead, alive):
        trial.set_user_attr(HOST, "another machine")
    record_heartbeat(storage, dead)
    fail_dead_trials(study, tmp_path, {})
    assert [t.state for t in study.trials] == [TrialState.RUNNING] * 2
    age_heartbeats(tmp_path, kind)
    storage = open_storage(name)
    study = optuna.load_study(study_name="mini", storage=storage)
    record_heartbeat(storage, alive)
    fail_dead_trials(study, tmp_path, {})
    states = [TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING]
    assert [t.state for t in study.trials] == states
    again = study.ask()
    again.suggest_float("optim.learning_rate", 1e-4, 1e-2)
    assert again.params == dead.params
    assert HEARTBEAT_SECONDS * 3 < GRACE_SECONDS


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_trial_whose_process_died_before_its_first_heartbeat_is_queued_again(tmp_path, kind):
    name = f"sqlite:///{tmp_path}/mini.db" if kind == "sqlite" else str(tmp_path / "mini.journal")
    study = optuna.create_study(study_name="mini", storage=open_storage(name))
    begin_trial(study)
    ownerless_since: dict[int, float] = {}
    fail_dead_trials(study, tmp_path, ownerless_since)
    assert study.trials[0].state == TrialState.RUNNING  # it may be about to say who it is
    ownerless_since[0] -= GRACE_SECONDS + 1
    fail_dead_trials(study, tmp_path, ownerless_since)
    assert [t.state for t in study.trials] == [TrialState.FAIL, TrialState.WAITING]


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_stop_by_hand_is_no_fault_of_the_settings(tmp_path):
    study = optuna.create_study(storage=open_storage(str(tmp_path / "mini.journal")))
    for _ in range(6):
        study.tell(begin_trial(study), state=TrialState.FAIL)
        retry_trial(study, study.trials[-1], by_user=True)
        assert study.trials[-1].state == TrialState.WAITING


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_settings_that_are_interrupted_every_time_are_given_up(tmp_path):
    study = optuna.create_study(storage=open_storage(str(tmp_path / "mini.journal")))
    trial = begin_trial(study)
    for _ in range(3):
        study.tell(trial, state=TrialState.FAIL)
        retry_trial(study, study.trials[-1])
        assert study.trials[-1].state == TrialState.WAITING
        trial = begin_trial(study)
    study.tell(trial, state=TrialState.FAIL)
    retry_trial(study, study.trials[-1])
    assert len({t.params["optim.learning_rate"] for t in study.trials}) == 1
    assert [t.state for t in study.trials] == [TrialState.FAIL] * 4


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_trial_of_this_machine_is_dead_as_soon_as_its_lock_is_free(tmp_path):
    study = optuna.create_study(
        study_name="mini", storage=open_storage(f"sqlite:///{tmp_path}/mini.db")
    )
    trial = begin_trial(study)
    trial.set_user_attr(HOST, socket.gethostname())
    with create_locked_run(trial_directory(tmp_path, 0)):
        fail_dead_trials(study, tmp_path, {})
        assert study.trials[0].state == TrialState.RUNNING
        with pytest.raises(RunError, match=f"in use by process {os.getpid()}"):
            hold_run(trial_directory(tmp_path, 0))  # as electra resume would
    fail_dead_trials(study, tmp_path, {})
    fail_dead_trials(study, tmp_path, {})
    assert [t.state for t in study.trials] == [TrialState.FAIL, TrialState.WAITING]
