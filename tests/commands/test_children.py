"""`--processes` where the work falls into independent parts: trials, and seeds of a fine-tune."""

import csv
import json

import pytest
from command_line import write_preset
from launched import Launched

pytestmark = pytest.mark.slow


def test_a_study_is_shared_by_children_of_which_one_speaks(tmp_path, prepared):
    space = "tune: {optim.learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}}\n"
    write_preset(tmp_path / "mine.yaml", space, run__num_steps=6)
    arguments = ["tune", "--preset=mine.yaml", "--data", prepared, "--trials=3", "--processes=2"]
    ended = Launched(tmp_path, *arguments).end()
    assert (ended.code, ended.errors) == (0, [])
    assert ended.stdout == "tune/mine/best.yaml\n"
    with (tmp_path / "tune" / "mine" / "trials.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 3


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
