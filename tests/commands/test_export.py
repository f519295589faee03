"""`electra export`: any checkpoint as the folders that a finished run writes."""

import filecmp
import importlib.util
import shutil

import onnxruntime
import pytest
import torch
from command_line import run_electra
from safetensors.torch import load_file
from transformers import AutoModelForPreTraining, AutoTokenizer

from electra_cli.run_directory import RunDirectory


def test_the_newest_checkpoint_comes_out_as_the_finished_run_wrote_it(run_copy, finished, electra):
    done = electra("export", run_copy)
    assert done.returncode == 0, done.stderr
    folder = run_copy / "export" / "step-00000012"
    assert done.stdout == f"{folder / 'discriminator'}\n"
    for name in ("discriminator", "generator"):
        files = sorted(path.name for path in (finished.root / name).iterdir())
        _, differ, missing = filecmp.cmpfiles(
            finished.root / name, folder / name, files, shallow=False
        )
        assert (differ, missing) == ([], [])


@pytest.mark.slow
def test_an_earlier_step_of_an_unfinished_run_is_exported_with_its_own_figures(run_copy, tmp_path):
    shutil.rmtree(run_copy / "checkpoints" / "step-00000012")
    done = run_electra(tmp_path, "export", run_copy, "--step", 5, "--out", tmp_path / "early")
    assert done.returncode == 0, done.stderr
    saved = load_file(run_copy / "checkpoints" / "step-00000005" / "model.safetensors")
    loaded = AutoModelForPreTraining.from_pretrained(tmp_path / "early" / "discriminator")
    for name, weight in loaded.state_dict().items():
        assert torch.equal(weight, saved[f"discriminator.{name}"]), name
    log = RunDirectory(run_copy).read_log()
    card = (tmp_path / "early" / "discriminator" / "README.md").read_text()
    assert "| held-out metric at step 4 | value |" in card
    assert f"| rtd_loss | {log['validation_rtd_loss'][log['step'].index(4)]:.4f} |" in card


def test_what_cannot_be_exported_is_named(run_copy, finished, electra, tmp_path):
    done = electra("export", run_copy, "--step", 7)
    assert done.returncode == 1
    assert "step-00000007 does not exist" in done.stderr
    assert "checkpoints there are: 5, 10, 12" in done.stderr
    assert "is not a run" in electra("export", finished.root.parent).stderr
    weights = run_copy / "checkpoints" / "step-00000005" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    done = electra("export", run_copy, "--step", 5)
    assert "step-00000005 is damaged: model.safetensors does not match" in done.stderr
    shutil.rmtree(run_copy / "checkpoints")
    assert "has no checkpoint to export" in electra("export", run_copy).stderr
    assert not (run_copy / "export").exists()
    assert not list(tmp_path.glob("**/*.partial"))


@pytest.mark.slow
def test_onnx_gives_the_same_logits_for_any_batch_and_length(run_copy, finished, electra):
    done = electra("export", run_copy, "--onnx")
    assert done.returncode == 0, done.stderr
    folder = run_copy / "export" / "step-00000012" / "discriminator"
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForPreTraining.from_pretrained(folder).eval()
    texts = ["the value", "a list of the names that are given", "x " * 40]
    for batch in ([texts[0]], texts, texts * 3, ["", "the"]):
        inputs = tokenizer(batch, padding=True, truncation=True, return_tensors="pt")
        arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
        (found,) = session.run(None, arrays)
        with torch.no_grad():
            expected = model(**inputs).logits
        is_real = inputs["attention_mask"].bool()
        torch.testing.assert_close(torch.from_numpy(found)[is_real], expected[is_real],
                                   rtol=0, atol=1e-4)  # fmt: skip
    assert (folder.parent / "generator" / "model.onnx").is_file()


def test_onnx_without_its_packages_says_what_to_install(run_copy, electra, monkeypatch):
    find = importlib.util.find_spec
    hidden = lambda name, *rest: None if name == "onnxruntime" else find(name, *rest)  # noqa: E731
    monkeypatch.setattr("electra_cli.model.onnx.find_spec", hidden)
    done = electra("export", run_copy, "--onnx")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: --onnx needs onnxruntime, which is not installed",
        "  hint: pip install 'electra-cli[onnx]', or leave --onnx out",
    ]
    assert not (run_copy / "export").exists()
