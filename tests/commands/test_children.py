"""`--processes` where the work falls into independent parts: trials, and seeds of a fine-tune."""

import csv
import json
import sys

import pytest
from command_line import write_preset
from launched import Launched

from electra_cli.commands import children
from electra_cli.stopping import stop_request

pytestmark = pytest.mark.slow


def test_a_study_is_shared_by_children_of_which_one_speaks(tmp_path, prepared):
    space = "tune: {optim.learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}}\n"
    write_preset(tmp_path / "mine.yaml", space, run__num_steps=6)
    arguments = ["tune", "--preset=mine.yaml", "--data", prepared, "--trials=3", "--processes=2"]
    ended = Launched(tmp_path, *arguments).end()
    assert (ended.code, ended.errors) == (0, [])
    assert ended.stdout == "tune/mine/best.yaml\n"
    with (tmp_path / "tune" / "mine" / "trials.csv").open(newline="") as file:
        states = [row["state"] for row in csv.DictReader(file)]
    # Where both ask for the last trial at once, one of them is never started.
    assert sorted(set(states) - {"skipped"}) in (["complete"], ["complete", "pruned"])
    assert len([state for state in states if state != "skipped"]) == 3


@pytest.mark.parametrize(
    ("script", "codes", "warnings"),
    [
        # One of two is killed, whichever is first; the other one does the work.
        ("mkdir first && kill -KILL $$\nsleep 1\ntouch done", {0, 1}, 1),
        ("exit 1", {1}, 0),  # a problem of all, which the first one has said
    ],
)
def test_children_that_fail(tmp_path, monkeypatch, capsys, script, codes, warnings):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["electra", "tune"])
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(children, "_GRACE_SECONDS", 0.2)
    (tmp_path / "python").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "python").chmod(0o755)
    with stop_request() as stop, pytest.raises(SystemExit) as ended:
        children.run_children("99", 2, stop)
    said = capsys.readouterr().err
    assert ended.value.code in codes
    assert said.count("the others do its work") == said.count("ended with SIGKILL") == warnings
    assert (tmp_path / "done").exists() == bool(warnings)


def test_the_seeds_of_a_fine_tune_are_shared_and_reported_once(tmp_path, finished):
    kinds = (("the", "a"), ("class", "b"))
    rows = [f"{word} number {n},{label}\n" for n in range(100) for word, label in kinds]
    (tmp_path / "words.csv").write_text("text,label\n" + "".join(rows))
    options = ["--train=words.csv", "--seeds=2", "--epochs=1", "--run-name=words"]
    ended = Launched(tmp_path, "finetune", finished.root, *options, "--processes=2").end()
    assert ended.code == 0, ended.stderr
    assert ended.stdout == "finetune/words\n"
    folder = tmp_path / "finetune" / "words"
    outputs = sorted(path.parent.name for path in folder.rglob("outputs"))
    assert outputs == [f"{kind}seed-{n}" for kind in ("random-weights-", "") for n in (0, 1)]
    # Two children, one of which left its log in the folder of each training.
    assert len(list(folder.rglob("training_log.csv"))) == len(outputs)
    assert json.loads((folder / "report.json").read_text())
