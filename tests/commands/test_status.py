"""electra status: ten runs in as many states, as a table and as JSON; completion of names."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import (
    TINY,
    electra_command,
    electra_environment,
    run_electra,
    start_electra,
    write_preset,
)
from run_checks import assert_refused, damage, wait_for_rows


@pytest.fixture
def copy(run_copy: Path):
    def make(name: str) -> Path:
        return Path(shutil.copytree(run_copy, run_copy.with_name(name)))

    return make


@pytest.fixture
def running(tmp_path: Path, prepared: Path) -> Iterator[subprocess.Popen[str]]:
    options = [*TINY, "--set=run.num_steps=100000", "--run-name", "running"]
    process = start_electra(tmp_path, "train", "--data", prepared, *options)
    wait_for_rows(tmp_path / "runs" / "running" / "training_log.csv", 3)
    yield process
    process.kill()
    process.communicate()


def read_json(folder: Path, *arguments: object) -> list[dict[str, Any]]:
    done = run_electra(folder, "status", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    statuses: list[dict[str, Any]] = json.loads(done.stdout)
    return statuses


@pytest.mark.slow
def test_ten_runs_in_ten_states(tmp_path, prepared, copy, running):
    stopped = start_electra(
        tmp_path, "train", "--data", prepared, *TINY, "--run-name", "stopped",
        "--set=run.num_steps=100000",
    )  # fmt: skip
    wait_for_rows(tmp_path / "runs" / "stopped" / "training_log.csv", 3)
    stopped.send_signal(signal.SIGTERM)
    stopped.communicate()

    shutil.rmtree(copy("killed") / "discriminator")
    (tmp_path / "runs" / "whole" / "link").symlink_to("config.yaml")  # which takes no room
    for weights in copy("all-damaged").glob("checkpoints/*/model.safetensors"):
        damage(weights, "flip")
    newest = sorted((copy("newest-damaged") / "checkpoints").iterdir())[-1]
    damage(newest / "model.safetensors", "truncate")
    (copy("bad-settings") / "config.yaml").write_text("run: [what]\n")
    log = copy("bad-log") / "training_log.csv"
    log.write_text(log.read_text().replace("\n4,", "\nfour,"))
    started = copy("just-started")
    (started / "training_log.csv").unlink()
    shutil.rmtree(started / "checkpoints")
    shutil.rmtree(started / "discriminator")
    (started / "events.jsonl").unlink(missing_ok=True)
    log = copy("not-a-number") / "training_log.csv"
    *lines, last = log.read_text().splitlines()
    cells = last.split(",")
    cells[lines[0].split(",").index("grad_norm")] = "nan"
    log.write_text("\n".join([*lines, ",".join(cells)]) + "\n")

    found = {Path(one["run"]).name: one for one in read_json(tmp_path)}
    assert {name: one["state"] for name, one in found.items()} == {
        "whole": "finished", "running": "running", "stopped": "stopped", "killed": "stopped",
        "all-damaged": "damaged", "newest-damaged": "finished", "bad-settings": "damaged",
        "bad-log": "damaged", "just-started": "stopped", "not-a-number": "finished",
    }  # fmt: skip
    assert f"process {running.pid} on {os.uname().nodename}" in found["running"]["reason"]
    assert found["running"]["seconds_left"] > 0
    assert "SIGTERM: stopped and saved at step" in found["stopped"]["reason"]
    assert found["stopped"]["checkpoint"] == found["stopped"]["step"]
    assert "killed" in found["killed"]["reason"]
    assert "does not match its checksum" in found["all-damaged"]["reason"]
    assert found["all-damaged"]["checkpoint"] is None
    assert found["newest-damaged"]["checkpoint"] == 10
    assert found["bad-settings"]["num_steps"] is None
    assert "line 3" in found["bad-log"]["reason"]
    assert (found["just-started"]["step"], found["just-started"]["held_out"]) == (0, {})
    whole = found["whole"]
    assert (whole["step"], whole["num_steps"], whole["checkpoint"]) == (12, 12, 12)
    assert (whole["held_out_step"], whole["seconds_left"]) == (12, 0)
    paths = (tmp_path / "runs" / "whole").rglob("*")
    files = [path for path in paths if path.is_file() and not path.is_symlink()]
    assert whole["disk_bytes"] == sum(path.stat().st_size for path in files)

    done = run_electra(tmp_path, "status")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        [one["run"], one["state"]] for one in read_json(tmp_path)
    ]
    assert "runs/stopped: stopped: SIGTERM" in done.stderr


def test_status_changes_nothing_and_does_not_disturb_a_resume(run_copy):
    before = {path: path.stat().st_mtime_ns for path in run_copy.rglob("*")}
    read_json(run_copy.parent, run_copy)
    assert {path: path.stat().st_mtime_ns for path in run_copy.rglob("*")} == before


def test_what_is_no_run_is_named(tmp_path):
    assert_refused(run_electra(tmp_path, "status", "nowhere"), "nowhere is not a run")


def test_no_runs_is_an_empty_list_and_a_next_step(tmp_path):
    assert read_json(tmp_path) == []
    assert "electra train" in run_electra(tmp_path, "status").stderr


def test_a_reader_that_closes_the_pipe_sees_no_traceback(run_copy):
    done = subprocess.run(
        ["bash", "-c", f"{' '.join(electra_command('status'))} | true"],
        cwd=run_copy.parents[1], env=electra_environment(), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_a_full_stdout_is_one_line(run_copy):
    for arguments in (["status"], ["status", "--json"], ["--version"]):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                electra_command(*arguments), cwd=run_copy.parents[1], env=electra_environment(),
                stdout=full, stderr=subprocess.PIPE, text=True, check=False,
            )  # fmt: skip
        assert done.returncode == 1
        assert "error: stdout cannot be written: No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        assert "Exception" not in done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("train", "--preset", "sm"), {"small", "small++"}),
        (("train", "--preset", "mi"), {"mine.yaml", "mini"}),
        (("train", "--set", "optim.learning"), {"optim.learning_rate="}),
        (("resume", "x", "--set", "run.save"), {"run.save_every="}),
        (("resume", "x", "--set", "run.num_st"), set()),
        (("resume", "r"), {"runs/whole"}),
        (("plot", "runs/w"), {"runs/whole"}),
        (("status", ""), {"runs/whole"}),
        (("train", "--data", "da"), {"data/words"}),
        (("finetune", "r"), {"runs/whole"}),
        (("finetune", "x", "--set", "finetune.doc"), {"finetune.doc_stride="}),
        (("predict", ""), {"finetune/mine", "runs/whole"}),
        (("st",), {"status"}),
    ],
)
def test_the_shell_completes(run_copy, words, expected):
    folder = run_copy.parents[1]
    write_preset(folder / "mine.yaml")
    (folder / "data" / "words").mkdir(parents=True)
    (folder / "data" / "words" / "manifest.json").touch()
    (folder / "finetune" / "mine").mkdir(parents=True)
    (folder / "finetune" / "mine" / "config.yaml").touch()
    environment = electra_environment() | {
        "_ELECTRA_COMPLETE": "complete_bash",
        "COMP_WORDS": "electra " + " ".join(words),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run(
        electra_command(), cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert set(done.stdout.split()) == expected, done.stderr
