"""Wrong input to `electra train`: one line of problem, one of hint, nothing lost."""

import json
import shutil

import pytest
from command_line import TINY, run_electra
from run_checks import assert_refused, damage

pytestmark = pytest.mark.slow  # nearly every test starts commands that load torch


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--preset", "tinny"], ["there is no preset 'tinny'", "did you mean tiny?"]),
        (["--preset", "none.yaml"], ["none.yaml cannot be read", "presets: base"]),
        (["--set", "optim.lerning_rate=1"], ["unknown option", "did you mean optim.learning_rate"]),
        (["--set", "run.num_steps=many"], ["run.num_steps = 'many'", "number of optimizer steps"]),
        (["--learning-rate", "-1"], ["optim.learning_rate = -1.0", "greater than 0"]),
        (["--set", "data.max_seq_length=4096"], ["longer than model.max_position_embeddings"]),
        (["--device", "cuda"], ["no device 'cuda'", "--device cpu"]),
        (["--device", "toaster"], ["no device 'toaster'", "--device cpu"]),
        (["--precision", "fp16"], ["cpu does not train in fp16", "--precision auto"]),
        (["--precision", "fp8"], ["run.precision = 'fp8'"]),
        (["--set", "run.batch_size=100000"], ["less than one batch", "run.batch_size"]),
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


@pytest.mark.parametrize("how", ["truncate", "remove", "flip", "zero"])
def test_a_damaged_shard_is_named(tmp_path, prepared, how):
    copy = tmp_path / "bad"
    shutil.copytree(prepared, copy)
    damage(copy / "train-00000.arrow", how)
    done = run_electra(tmp_path, "train", "--data", copy, *TINY)
    assert_refused(done, "train-00000.arrow is damaged", "copy the folder again")
    assert not (tmp_path / "runs").exists()


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
