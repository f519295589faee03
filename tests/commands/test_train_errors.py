"""Wrong input through the real commands: one line of problem, one of hint, nothing lost."""

import json
import shutil
from pathlib import Path

import pytest
from command_line import TINY, run_electra, write_corpus


def assert_refused(done, *parts: str, code: int = 1) -> None:
    """Exit code, no traceback, the parts in the message, and a hint as the last line."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert lines[-2].startswith("error: "), done.stderr
    assert lines[-1].startswith("  hint: "), done.stderr
    for part in parts:
        assert part in lines[-2] + lines[-1], done.stderr


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--preset", "tinny"], ["there is no preset 'tinny'", "did you mean tiny?"]),
        (["--preset", "none.yaml"], ["none.yaml cannot be read", "presets: base"]),
        (["--set", "optim.lerning_rate=1"], ["unknown option", "did you mean optim.learning_rate"]),
        (["--set", "run.num_steps=many"], ["run.num_steps = 'many'", "Optimizer steps"]),
        (["--learning-rate", "-1"], ["optim.learning_rate = -1.0", "greater than 0"]),
        (["--set", "data.max_seq_length=4096"], ["longer than model.max_position_embeddings"]),
        (["--device", "cuda"], ["no device 'cuda'", "--device cpu"]),
        (["--device", "toaster"], ["no device 'toaster'", "--device cpu"]),
        (["--precision", "fp16"], ["cpu has no fp16 arithmetic", "--precision auto"]),
        (["--precision", "fp8"], ["run.precision = 'fp8'"]),
        (["--set", "run.batch_size=100000"], ["less than one batch", "--batch-size"]),
        (["--preset", "large", "--set", "run.micro_batch_size=2048"], ["GB of memory", "windows"]),
        (["--data", "nowhere"], ["nowhere", "electra prepare"]),
    ],
)
def test_a_wrong_option_is_explained(tmp_path, prepared, options, parts):
    data = [] if "--data" in options else ["--data", prepared]
    base = [] if "--preset" in options else TINY
    done = run_electra(tmp_path, "train", *data, *base, *options)
    assert_refused(done, *parts)
    assert not (tmp_path / "runs").exists()


def test_an_unknown_flag_is_wrong_usage(tmp_path):
    done = run_electra(tmp_path, "train", "--stepps", "3")
    assert done.returncode == 2
    assert "--steps" in done.stderr


def test_without_data_the_next_command_is_prepare(tmp_path):
    done = run_electra(tmp_path, "train", "--preset", "small")
    assert_refused(done, "no prepared data under data/", "electra prepare")


def test_the_only_prepared_folder_is_taken_and_several_are_listed(tmp_path, prepared):
    shutil.copytree(prepared, tmp_path / "data" / "first")
    done = run_electra(tmp_path, "train", *TINY, "--run-name", "one")
    assert done.returncode == 0, done.stderr
    shutil.copytree(prepared, tmp_path / "data" / "second")
    done = run_electra(tmp_path, "train", *TINY)
    assert_refused(done, "data/first, data/second", "--data DIR")


def test_a_run_name_that_exists_is_kept(tmp_path, prepared):
    precious = tmp_path / "runs" / "mine" / "notes.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("keep me")
    done = run_electra(tmp_path, "train", "--data", prepared, "--run-name", "mine", *TINY)
    assert_refused(done, "runs/mine is there already", "electra resume runs/mine")
    assert precious.read_text() == "keep me"


def test_an_unfinished_data_folder_is_refused(tmp_path, prepared):
    copy = tmp_path / "half"
    shutil.copytree(prepared, copy)
    (copy / "manifest.json").unlink()
    (copy / "progress.json").write_text("{}")
    assert_refused(run_electra(tmp_path, "train", "--data", copy, *TINY), "half", "electra prepare")


@pytest.mark.parametrize("damage", ["truncate", "remove"])
def test_a_damaged_shard_is_named(tmp_path, prepared, damage):
    copy = tmp_path / "bad"
    shutil.copytree(prepared, copy)
    shard = copy / "train-00000.arrow"
    content = shard.read_bytes()
    shard.unlink()
    if damage == "truncate":
        shard.write_bytes(content[: len(content) // 2])
    done = run_electra(tmp_path, "train", "--data", copy, *TINY)
    assert_refused(done, "train-00000.arrow")


def test_another_tokenizer_in_the_data_folder_is_refused(tmp_path, prepared):
    copy = tmp_path / "mixed"
    shutil.copytree(prepared, copy)
    file = copy / "tokenizer" / "tokenizer.json"
    content = json.loads(file.read_text())
    words = content["model"]["vocab"]
    first, second = list(words)[10:12]
    words[first], words[second] = words[second], words[first]
    file.write_text(json.dumps(content))
    done = run_electra(tmp_path, "train", "--data", copy, *TINY)
    assert_refused(done, "tokenizer", "fingerprint", "prepare the data again")


@pytest.fixture
def run_copy(tmp_path, finished) -> Path:
    copy = tmp_path / "runs" / "whole"
    shutil.copytree(finished.root, copy)
    return copy


def test_resume_of_no_run_is_explained(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nowhere"):
        assert_refused(run_electra(tmp_path, "resume", name), f"{name} is not a run", "runs/NAME")


def test_resume_skips_a_damaged_checkpoint_and_says_so(tmp_path, run_copy):
    file = run_copy / "checkpoints" / "step-00000012" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    done = run_electra(tmp_path, "resume", run_copy)
    assert done.returncode == 0, done.stderr
    assert "step-00000012 is damaged: model.safetensors does not match" in done.stderr
    assert "from step 10" in done.stderr


def test_resume_from_a_step_that_is_damaged_offers_another(tmp_path, run_copy):
    (run_copy / "checkpoints" / "step-00000012" / "state.json").unlink()
    done = run_electra(tmp_path, "resume", run_copy, "--step", 12)
    assert_refused(done, "damaged: state.json is missing", "--step 10")


def test_resume_without_a_good_checkpoint_says_so(tmp_path, run_copy):
    shutil.rmtree(run_copy / "checkpoints")
    assert_refused(run_electra(tmp_path, "resume", run_copy), "no good checkpoint", "start again")


def test_resume_with_other_data_is_refused_with_both_fingerprints(tmp_path, run_copy, prepared):
    write_corpus(tmp_path / "other.txt", 200, seed=9)
    options = ["--out", "other", "--vocab-size", 140, "--validation-fraction", 0.1]
    done = run_electra(tmp_path, "prepare", "other.txt", *options)
    assert done.returncode == 0, done.stderr
    config = run_copy / "config.yaml"
    config.write_text(config.read_text().replace(str(prepared), str(tmp_path / "other")))
    fingerprints = [
        json.loads((folder / "manifest.json").read_text())["tokenizer_sha256"][:12]
        for folder in (prepared, tmp_path / "other")
    ]
    assert_refused(run_electra(tmp_path, "resume", run_copy), *fingerprints)
