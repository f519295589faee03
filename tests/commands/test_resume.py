"""`electra resume`: what it goes on from, what may change, what it refuses."""

import json
import shutil

import pytest
from command_line import TINY, run_electra, write_corpus
from run_checks import (
    assert_refused,
    assert_same_run,
    change_weight,
    damage,
    event_texts,
    read_rows,
)

from electra_cli.presets import load_config
from electra_cli.run_directory import RunDirectory

pytestmark = pytest.mark.slow  # nearly every test starts commands that load torch


def test_resume_of_no_run_is_explained(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nowhere"):
        assert_refused(run_electra(tmp_path, "resume", name), f"{name} is not a run", "runs/NAME")


def test_damaged_checkpoints_are_named_skipped_and_left(tmp_path, run_copy, finished):
    checkpoints = run_copy / "checkpoints"
    damage(checkpoints / "step-00000012" / "model.safetensors", "truncate")
    damage(checkpoints / "step-00000010" / "optimizer.safetensors", "flip")
    log = run_copy / "training_log.csv"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:1] + lines[2:]))  # a row is lost
    done = run_electra(tmp_path, "resume", run_copy, "--set", "run.save_every=3")
    assert done.returncode == 0, done.stderr
    assert "step-00000012 is damaged: model.safetensors does not match" in done.stderr
    assert "step-00000010 is damaged: optimizer.safetensors does not match" in done.stderr
    assert "from step 5" in done.stderr
    assert "has 1 rows up to step 5, there were 2" in done.stderr
    assert read_rows(run_copy) == read_rows(finished.root)[1:]
    # Good: 6, 9, 12 (made again). The damaged 10 is where it was, and counts for nothing.
    names = sorted(path.name.replace("step-000000", "") for path in checkpoints.iterdir())
    assert names == ["06", "09", "10", "12", "aside-12"]
    assert event_texts(run_copy, "resumed") == ["from step 5, run.save_every 5 -> 3"]


def test_a_step_that_is_damaged_offers_another(tmp_path, run_copy):
    (run_copy / "checkpoints" / "step-00000012" / "state.json").unlink()
    done = run_electra(tmp_path, "resume", run_copy, "--step", 12)
    assert_refused(done, "damaged: state.json is missing", "--step 10")


def test_without_a_good_checkpoint_it_says_what_can_be_done(tmp_path, run_copy, finished):
    for path in (run_copy / "checkpoints").iterdir():
        damage(path / "state.json", "zero")
    done = run_electra(tmp_path, "resume", run_copy)
    assert_refused(done, "no good checkpoint", "step-00000005: state.json", "--step 0")
    shutil.rmtree(run_copy / "checkpoints")
    assert_refused(run_electra(tmp_path, "resume", run_copy), "has no checkpoint", "--step 0")
    assert read_rows(run_copy) == read_rows(finished.root)
    again = run_electra(tmp_path, "resume", run_copy, "--step", 0)
    assert again.returncode == 0, again.stderr
    assert_same_run(run_copy, finished.root)


def test_a_run_killed_before_its_first_checkpoint_begins(tmp_path, finished):
    root = tmp_path / "runs" / "early"
    root.mkdir(parents=True)
    shutil.copy(finished.root / "config.yaml", root)
    done = run_electra(tmp_path, "resume", root)
    assert done.returncode == 0, done.stderr
    assert "from step 0" in done.stderr
    assert_same_run(root, finished.root)


def test_other_tokenizer_or_content_is_refused_with_both_fingerprints(tmp_path, run_copy, prepared):
    write_corpus(tmp_path / "other.txt", 200, seed=9)
    for name, options in (
        ("words", ["--vocab-size", 140]),
        ("content", ["--tokenizer", prepared / "tokenizer"]),
    ):
        done = run_electra(tmp_path, "prepare", "other.txt", "--out", name, *options)
        assert done.returncode == 0, done.stderr
    fingerprints = [
        json.loads((folder / "manifest.json").read_text())["tokenizer_sha256"][:12]
        for folder in (prepared, tmp_path / "words")
    ]
    done = run_electra(tmp_path, "resume", run_copy, "--set", "data.directory=words")
    assert_refused(done, "words has tokenizer", *fingerprints, "--set data.directory=DIR")
    done = run_electra(tmp_path, "resume", run_copy, "--set", "data.directory=content")
    saved = json.loads((run_copy / "checkpoints" / "step-00000012" / "state.json").read_text())
    assert_refused(done, "content has content", "made with", saved["data_sha256"][:12])


def test_data_that_moved_is_found_where_it_is_said_to_be(tmp_path, run_copy, prepared, finished):
    shutil.copytree(prepared, tmp_path / "moved")
    options = ["--step", 5, "--set", "data.directory=moved"]
    done = run_electra(tmp_path, "resume", run_copy, *options)
    assert done.returncode == 0, done.stderr
    assert_same_run(run_copy, finished.root)
    assert load_config(RunDirectory(run_copy).config).data.directory == tmp_path / "moved"
    # Going back set the later ones aside, so that a kill could never lead to them.
    names = {path.name for path in (run_copy / "checkpoints").iterdir()}
    assert {"aside-step-00000010", "aside-step-00000012"} < names


@pytest.mark.parametrize("how", ["flip", "zero", "remove"])
def test_a_shard_damaged_since_is_named(tmp_path, run_copy, prepared, how):
    shutil.copytree(prepared, tmp_path / "copy")
    damage(tmp_path / "copy" / "validation-00000.arrow", how)
    done = run_electra(tmp_path, "resume", run_copy, "--set", "data.directory=copy")
    assert_refused(done, "validation-00000.arrow is damaged", "copy the folder again")


def test_another_format_is_refused_with_both(tmp_path, run_copy):
    manifest = run_copy / "checkpoints" / "step-00000012" / "manifest.json"
    manifest.write_text(json.dumps({"format_version": 1, "step": 12, "sha256": {}}))
    done = run_electra(tmp_path, "resume", run_copy)
    assert_refused(done, "has format 1, this program reads format 4", "environment.json")


def test_what_changes_the_mathematics_is_refused(tmp_path, run_copy):
    done = run_electra(tmp_path, "resume", run_copy, "--set", "optim.learning_rate=0.5")
    assert_refused(done, "optim.learning_rate is 0.5", "trained with", "run.micro_batch_size")
    done = run_electra(tmp_path, "resume", run_copy, "--set", "run.micro_batch_size=3")
    assert_refused(done, "batch_size 8 is no multiple of micro_batch_size 3")
    config = (run_copy / "config.yaml").read_text()
    back = ["--step", 0, "--set", "optim.learning_rate=0.5"]
    done = run_electra(tmp_path, "resume", run_copy, *back)
    assert_refused(done, "optim.learning_rate is 0.5", "trained with", "run.micro_batch_size")
    assert (run_copy / "config.yaml").read_text() == config


def test_another_micro_batch_gives_the_same_metrics(tmp_path, prepared):
    still = ["hidden_dropout_prob", "attention_probs_dropout_prob"]
    options = [*TINY, *(f"--set=model.{name}=0" for name in still)]
    done = run_electra(tmp_path, "train", "--data", prepared, "--run-name", "a", *options)
    assert done.returncode == 0, done.stderr
    whole, parts = tmp_path / "runs" / "a", tmp_path / "runs" / "b"
    shutil.copytree(whole, parts)
    changes = ["--set", "run.micro_batch_size=2"]
    done = run_electra(tmp_path, "resume", parts, "--step", 5, *changes)
    assert done.returncode == 0, done.stderr
    found, expected = read_rows(parts), read_rows(whole)
    assert found != expected  # it did add up in another order
    for row, wanted in zip(found, expected, strict=True):
        assert row.keys() == wanted.keys()
        for name, value in wanted.items():
            assert bool(row[name]) == bool(value)
            if value:
                assert float(row[name]) == pytest.approx(float(value), rel=1e-5), name


def test_verify_finds_steps_that_come_out_differently(tmp_path, run_copy):
    def nudge(weight):
        weight.view(-1)[0] += 1e-6

    name = "discriminator.discriminator_predictions.dense.bias"
    change_weight(run_copy / "checkpoints" / "step-00000012", name, nudge)
    done = run_electra(tmp_path, "resume", run_copy, "--verify")
    assert_refused(done, "steps 11 to 12 came out differently", f"{name} (model)", "by up to 1e-06")


def test_verify_needs_two_checkpoints(tmp_path, run_copy):
    done = run_electra(tmp_path, "resume", run_copy, "--verify", "--step", 5)
    assert_refused(done, "no checkpoint before step 5", "run.keep_checkpoints")
