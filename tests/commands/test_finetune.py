"""`electra finetune` and its resume, through the real command."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_line import run_electra, start_electra
from safetensors.torch import load_file
from tiny_tasks import write_classes
from tracked_rows import as_float32, rows_of_csv, rows_of_tensorboard

# Quick, and the rate is high: an encoder of 12 steps learns little otherwise.
QUICK = ["--epochs", "2", "--batch-size", "8", "--learning-rate", "3e-3", "--max-seq-length", "32"]


def finetune(folder: Path, encoder: Path, *more: object) -> subprocess.CompletedProcess[str]:
    return run_electra(folder, "finetune", encoder, *QUICK, *more)


@pytest.fixture(scope="module")
def tuned(finished, tmp_path_factory) -> Path:
    """Classes, two seeds, all controls."""
    folder = tmp_path_factory.mktemp("tuned")
    train = write_classes(folder / "classes.csv", 60)
    test = write_classes(folder / "test.csv", 20, seed=1)
    done = finetune(
        folder, finished.root, "--train", train, "--test", test, "--seeds", "2", "--run-name", "a",
        "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == (folder / "finetune" / "a" / "report.json").read_text()
    assert "Pre-training " in done.stderr  # gave or cost, or nothing that can be told
    assert "TF-IDF" in done.stderr
    return folder / "finetune" / "a"


def test_it_leaves_a_model_a_report_and_every_prediction(tuned):
    assert {path.name for path in tuned.iterdir()} >= {
        "config.yaml", "environment.json", "model", "predictions-test.csv",
        "predictions-validation.csv", "report.html", "report.json",
    }  # fmt: skip
    assert json.loads((tuned / "report.json").read_text())["task"] == "classify"
    with (tuned / "predictions-test.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20
    assert list(rows[0]) == [
        "id", "text", "label", "prediction", "even", "odd", "prediction of seed 1",
    ]  # fmt: skip
    assert float(rows[0]["even"]) + float(rows[0]["odd"]) == pytest.approx(1, abs=1e-5)
    assert not list(tuned.rglob("checkpoints"))  # they are for a resume alone


@pytest.mark.slow
def test_the_cards_example_runs_in_its_folder_and_on_long_text(tuned, tmp_path):
    moved = shutil.copytree(tuned / "model", tmp_path / "my model")
    (code,) = re.findall(r"```python\n(.*?)```", (moved / "README.md").read_text(), re.DOTALL)
    for text in ("A text.", "even odd " * 500):
        done = subprocess.run(
            [sys.executable, "-c", code.replace("A text.", text)],
            cwd=moved, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "'label': 'odd'" in done.stdout or "'label': 'even'" in done.stdout


def test_transformers_opens_the_model_and_answers_in_words(tuned):
    from transformers import pipeline

    answer = pipeline("text-classification", str(tuned / "model"), device="cpu", top_k=None)
    with (tuned / "predictions-test.csv").open() as file:
        for row in list(csv.DictReader(file))[:5]:
            found = {each["label"]: each["score"] for each in answer([row["text"]])[0]}
            assert found["odd"] == pytest.approx(float(row["odd"]), abs=1e-4)


def test_the_twin_differs_and_seeds_differ(tuned):
    files = sorted((tuned / "runs" / "whole").rglob("outputs.safetensors"))
    assert len(files) == 4
    found = [load_file(file)["test"] for file in files]
    for index, one in enumerate(found):
        assert not any(torch.equal(one, other) for other in found[index + 1 :])


@pytest.mark.slow
def test_a_fine_tune_that_was_stopped_goes_on_bit_for_bit(tuned, finished, tmp_path):
    """Killed after a few steps of the second job, then resumed: all outputs are the same.

    TensorBoard has the rows of every job, each once.
    """
    arguments = ["--seeds", "2", "--run-name", "a", "--set", "finetune.save_every=3"]
    arguments += ["--set", "finetune.report_to=tensorboard", "--set", "finetune.log_every=2"]
    data = ["--train", tuned.parents[1] / "classes.csv", "--test", tuned.parents[1] / "test.csv"]
    process = start_electra(tmp_path, "finetune", finished.root, *QUICK, *data, *arguments)
    log = tmp_path / "finetune" / "a" / "runs" / "whole" / "random-weights-seed-0" / "checkpoints"
    while process.poll() is None and not list(log.glob("step-*")):
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    root = tmp_path / "finetune" / "a"
    assert not (root / "report.json").exists()
    done = run_electra(tmp_path, "resume", root)
    assert done.returncode == 0, done.stderr
    whole = sorted(path.relative_to(tuned) for path in tuned.rglob("outputs.safetensors"))
    assert len(whole) == 4
    for path in whole:
        found, expected = load_file(root / path), load_file(tuned / path)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert (root / "predictions-test.csv").read_bytes() == (
        tuned / "predictions-test.csv"
    ).read_bytes()
    for path in whole:
        rows = rows_of_csv(root / path.parents[1])
        assert len(rows) > 2
        assert rows_of_tensorboard(root / path.parents[1]) == as_float32(rows)


@pytest.mark.slow
def test_a_damaged_checkpoint_costs_time_alone(electra, finished, tmp_path):
    train = write_classes(tmp_path / "classes.csv")
    command = ["finetune", finished.root, *QUICK, "--train", train]
    command += ["--set", "finetune.untrained_twin=false", "--run-name"]
    assert electra(*command, "whole").returncode == 0
    assert electra(*command, "cut", "--max-minutes", 0).returncode == 130
    (damaged,) = (tmp_path / "finetune" / "cut").rglob("model.safetensors")
    damaged.write_bytes(damaged.read_bytes()[:-1])
    done = electra("resume", "finetune/cut")
    assert done.returncode == 0, done.stderr
    assert "model.safetensors does not match its checksum" in done.stderr
    whole, cut = (
        next((tmp_path / "finetune" / name).rglob("outputs.safetensors")).read_bytes()
        for name in ("whole", "cut")
    )
    assert whole == cut


def test_encoders_of_one_shape_share_a_twin(electra, finished, tmp_path):
    train = write_classes(tmp_path / "classes.csv")
    checkpoint = max((finished.root / "checkpoints").glob("step-*"))
    done = electra("finetune", finished.root, checkpoint, *QUICK, "--train", train)
    assert done.returncode == 0, done.stderr
    (plan,) = (line for line in done.stderr.splitlines() if "fine-tunes" in line)
    assert plan.split()[1:] == ["2", "1"]
    runs = sorted((tmp_path / "finetune").glob("*/runs/*/random-weights-seed-0"))
    one, two = (run / "outputs" / "outputs.safetensors" for run in runs)
    assert one.read_bytes() == two.read_bytes()
    assert [(run / "training_log.csv").exists() for run in runs].count(True) == 1


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(electra, finished, tmp_path):
    train = write_classes(tmp_path / "classes.csv")
    done = electra("finetune", finished.root, *QUICK, "--train", train, "--dry-run")
    assert done.returncode == 0
    for words in ("classify", "even 18, odd 18", "0.003, 0.8", "2, 10"):
        assert words in done.stderr, done.stderr
    assert not (tmp_path / "finetune").exists()
    done = electra("finetune", finished.root, *QUICK, "--train", train, "--dry-run", "--json")
    plan = json.loads(done.stdout)
    assert plan["classes"] == {"even": 18, "odd": 18}
    assert [encoder["num_steps"] for encoder in plan["encoders"]] == [10]
    assert plan["warnings"] == ["validation has 4 examples: scores will be uncertain"]


def test_the_same_name_twice_is_refused(electra, tuned, finished, monkeypatch):
    monkeypatch.chdir(tuned.parents[1])
    done = electra("finetune", finished.root, "--train", "classes.csv", "--run-name", "a")
    assert done.returncode == 1
    assert "is there already" in done.stderr
    assert "hint: choose another --run-name, or: electra resume finetune/a" in done.stderr


def test_a_resume_with_other_examples_is_refused(electra, finished, tmp_path):
    train = write_classes(tmp_path / "classes.csv")
    begun = electra(
        "finetune", finished.root, *QUICK, "--train", train, "--run-name", "b", "--max-minutes", 0
    )
    assert begun.returncode == 130
    write_classes(train, seed=5)
    done = electra("resume", "finetune/b")
    assert done.returncode == 1
    assert "the labelled examples are no longer those that finetune/b began with" in done.stderr
