"""Data, tokenizers, settings and checkpoints from strangers: nothing in them runs, nothing leads
out of their folders, and what is refused is said in two lines.
"""

import hashlib
import json
import os
import pickle
import shutil
import subprocess
from pathlib import Path

import datasets
import pytest
from command_line import TINY, electra_command, electra_environment, run_electra, write_corpus

from electra_cli.errors import DataError, RunError
from electra_cli.preparing.source import SourceOptions
from electra_cli.preparing.sources import HubSource
from electra_cli.run_directory import RunDirectory
from electra_cli.training.checkpoint import Checkpoint, CheckpointManager


class Malicious:
    """Unpickling it makes a file."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self._marker}",)


def assert_refused(done: "subprocess.CompletedProcess[str]", *parts: str) -> None:
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    problem, hint = done.stderr.strip().splitlines()[-2:]
    assert problem.startswith("error: "), done.stderr
    assert hint.startswith("  hint: "), done.stderr
    for part in parts:
        assert part in problem + hint


def sign(checkpoint: Path, names: dict[str, Path] | None = None) -> None:
    """Make the checksums of a changed checkpoint match; `names` adds entries of the manifest."""
    path = checkpoint / "manifest.json"
    manifest = json.loads(path.read_text())
    files = {name: checkpoint / name for name in manifest["sha256"]} | (names or {})
    for name, file in files.items():
        manifest["sha256"][name] = hashlib.sha256(file.read_bytes()).hexdigest()
    if "manifest_sha256" in manifest:
        rest = {key: value for key, value in manifest.items() if key != "manifest_sha256"}
        content = json.dumps(rest, sort_keys=True).encode()
        manifest["manifest_sha256"] = hashlib.sha256(content).hexdigest()
    path.write_text(json.dumps(manifest))


@pytest.fixture
def run_copy(tmp_path, finished) -> Path:
    copy = tmp_path / "runs" / "whole"
    shutil.copytree(finished.root, copy)
    for older in sorted((copy / "checkpoints").iterdir())[:-1]:
        shutil.rmtree(older)
    return copy


def newest(run: Path) -> Path:
    return max(RunDirectory(run).checkpoints.iterdir())


def load(run: Path) -> Checkpoint:
    manager = CheckpointManager(run / "checkpoints", keep=3)
    return manager.load(manager.steps()[-1])


@pytest.mark.slow
def test_a_pickle_in_place_of_any_file_of_a_checkpoint_never_runs(tmp_path, run_copy):
    marker = tmp_path / "ran"
    content = pickle.dumps(Malicious(marker))
    pickle.loads(content)
    assert marker.exists(), "the pickle would run if anything loaded it"
    marker.unlink()
    checkpoint = newest(run_copy)
    names = sorted(path.name for path in checkpoint.iterdir())
    assert len(names) >= 4
    for name in names:
        whole = {path: path.read_bytes() for path in checkpoint.iterdir()}
        (checkpoint / name).write_bytes(content)
        if name != "manifest.json":
            sign(checkpoint)
        with pytest.raises(RunError, match=r"damaged|something else than a checkpoint"):
            load(run_copy)
        assert not marker.exists(), name
        if name == "model.safetensors":
            done = run_electra(tmp_path, "resume", run_copy)
            assert_refused(done, "something else than a checkpoint", "not written by electra")
            assert not marker.exists()
        for path, before in whole.items():
            path.write_bytes(before)


def test_a_pickle_beside_the_files_of_a_checkpoint_is_not_read(tmp_path, run_copy):
    marker = tmp_path / "ran"
    for name in ("extra.bin", "pytorch_model.bin", "optimizer.pt", "another.safetensors"):
        (newest(run_copy) / name).write_bytes(pickle.dumps(Malicious(marker)))
    assert "another" not in load(run_copy).tensors
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["parent", "absolute", "link"])
def test_a_checkpoint_never_names_a_file_outside_its_folder(tmp_path, run_copy, kind):
    checkpoint = newest(run_copy)
    outside = tmp_path / "outside.safetensors"
    shutil.copy(checkpoint / "model.safetensors", outside)
    if kind == "link":
        (checkpoint / "model.safetensors").unlink()
        (checkpoint / "model.safetensors").symlink_to(outside)
        sign(checkpoint)
    else:
        name = str(outside) if kind == "absolute" else os.path.relpath(outside, checkpoint)
        sign(checkpoint, {name: outside})
    with pytest.raises(RunError, match="no file of the folder's own"):
        load(run_copy)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["preset", "set", "config.yaml"])
def test_a_yaml_tag_never_runs(tmp_path, prepared, finished, place):
    marker = tmp_path / "ran"
    value = f"!!python/object/apply:os.system ['touch {marker}']"
    base = ("train", "--data", prepared)
    if place == "preset":
        (tmp_path / "mine.yaml").write_text(f"run:\n  seed: {value}\n")
        done = run_electra(tmp_path, *base, "--preset", "mine.yaml")
        assert_refused(done, "mine.yaml is not valid YAML", "the tag", "line 2")
    elif place == "set":
        done = run_electra(tmp_path, *base, "--set", f"run.seed={value}")
        assert_refused(done, "run.seed", "valid integer")
    else:
        run = tmp_path / "run"
        shutil.copytree(finished.root, run)
        text = (run / "config.yaml").read_text()
        (run / "config.yaml").write_text(text.replace("seed: 0", f"seed: {value}"))
        done = run_electra(tmp_path, "resume", run)
        assert_refused(done, "config.yaml is not valid YAML", "the tag")
    assert not marker.exists()
    assert not (tmp_path / "runs").exists()


CODE = """
from pathlib import Path
Path({marker!r}).touch()
from transformers import BertTokenizer, BertConfig, PreTrainedTokenizerFast
class Mine(PreTrainedTokenizerFast): pass
class MineConfig(BertConfig): pass
"""


def with_code(folder: Path, prepared: Path, marker: Path, where: str) -> Path:
    """A copy of a tokenizer's folder that asks to run mine.py."""
    shutil.copytree(prepared / "tokenizer", folder)
    (folder / "mine.py").write_text(CODE.format(marker=str(marker)))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    if where == "tokenizer_config.json":
        settings["auto_map"] = {"AutoTokenizer": ["mine.Mine", "mine.Mine"]}
        settings["tokenizer_class"] = "Mine"
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    else:
        config = {"model_type": "mine", "auto_map": {"AutoConfig": "mine.MineConfig"}}
        config["auto_map"]["AutoTokenizer"] = ["mine.Mine", "mine.Mine"]
        (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "where"), [("prepare", "tokenizer_config.json"), ("train", "config.json")]
)
def test_the_code_of_a_tokenizer_never_runs(tmp_path, prepared, command, where):
    marker = tmp_path / "ran"
    folder = with_code(tmp_path / "their", prepared, marker, where)
    if command == "prepare":
        write_corpus(tmp_path / "c.txt", 50)
        arguments: list[object] = ["prepare", "c.txt", "--tokenizer", folder]
    else:
        data = tmp_path / "data"
        shutil.copytree(prepared, data)
        shutil.rmtree(data / "tokenizer")
        shutil.move(folder, data / "tokenizer")
        (data / "tokenizer" / "model.safetensors").write_bytes(b"other weights")
        (tmp_path / "secret").write_text("mine")
        (data / "tokenizer" / "secret.txt").symlink_to(tmp_path / "secret")
        short = ["--set=run.num_steps=4", "--set=run.batch_size=4"]
        arguments = ["train", "--data", data, "--run-name", "x", *TINY, *short]
    done = subprocess.run(
        electra_command(*arguments),
        cwd=tmp_path,
        env={**electra_environment(), "HF_HOME": str(tmp_path / "cache")},
        input="y\ny\ny\n",  # whoever would be asked says yes
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert not marker.exists()
    if done.returncode != 0:
        assert_refused(done, "tokenizer", "custom code")
    assert "Do you wish to run" not in done.stdout + done.stderr
    if command == "train" and done.returncode == 0:
        exported = {path.name for path in (tmp_path / "runs/x/discriminator").iterdir()}
        assert exported.isdisjoint({"mine.py", "secret.txt"})


def test_a_script_in_a_folder_of_text_is_passed_over(tmp_path):
    marker = tmp_path / "ran"
    folder = tmp_path / "texts"
    folder.mkdir()
    write_corpus(folder / "a.txt", 100)
    (folder / "texts.py").write_text(CODE.format(marker=str(marker)))
    done = run_electra(tmp_path, "prepare", "texts", "--vocab-size", 150)
    assert done.returncode == 0, done.stderr
    assert "skipped 1" in done.stderr
    assert "texts/texts.py" in done.stderr
    assert not marker.exists()


def test_the_script_of_a_dataset_is_refused(tmp_path, monkeypatch):
    marker = tmp_path / "ran"
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "texts.py").write_text(CODE.format(marker=str(marker)) + "import datasets\n")
    monkeypatch.setattr("electra_cli.preparing.sources.hub_revision", lambda _: None)
    for name in (folder, folder / "texts.py"):
        with pytest.raises(DataError, match="dataset"):
            HubSource(SourceOptions((str(name),)))
    assert not marker.exists()
    assert not any("trust_remote_code" in name for name in datasets.load_dataset.__annotations__)


@pytest.mark.slow
def test_a_data_manifest_never_names_a_file_outside_its_folder(tmp_path, prepared):
    copy = tmp_path / "data"
    shutil.copytree(prepared, copy)
    shutil.copy(copy / "train-00000.arrow", tmp_path / "outside.arrow")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["shards"][0]["name"] = "../outside.arrow"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    done = run_electra(tmp_path, "train", "--data", copy, *TINY)
    assert_refused(done, "manifest.json is damaged", "shards.0.name")
