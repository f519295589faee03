"""`electra export --push-to-hub` through the real command and huggingface_hub, to a local hub."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from command_line import run_electra
from hub_stub import Hub, running_hub
from run_checks import assert_refused
from transformers import AutoModelForMaskedLM, AutoModelForPreTraining, AutoTokenizer

from electra_cli.publishing.card import finetune_rows
from electra_cli.run_directory import RunDirectory

TOKEN = "hf_onlyForThisTest"
PUSH = ("--push-to-hub", "me/model", "--license", "apache-2.0")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Without hf_xet, whose own protocol is not HTTP's business."""
    with running_hub() as hub:
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        yield hub


def publish(folder: Path, run: Path, *more: object):
    return run_electra(folder, "export", run, *PUSH, *more)


def write_finetune(
    folder: Path, encoder: Path, train: str = "questions.csv", flops: float | None = None
) -> None:
    """A report as `electra finetune` leaves it."""
    folder.mkdir(parents=True)
    config = {"encoders": [str(encoder)], "train": train}
    (folder / "config.yaml").write_text(yaml.safe_dump({"finetune": config}))
    score = {"value": 0.803, "low": 0.768, "high": 0.837, "num_examples": 100, "num_seeds": 5}
    gain = {**score, "value": 0.1, "low": 0.05, "high": 0.15}
    encoders = {"one": {
        "scores": {"accuracy": score}, "gains": {"random weights": {"accuracy": gain}},
        "pretraining_flops": flops,
    }}  # fmt: skip
    report = {"metrics": ["accuracy"], "splits": {"test": {"encoders": encoders}}}
    (folder / "report.json").write_text(json.dumps(report))


@pytest.mark.slow
def test_a_failed_upload_leaves_nothing_and_the_same_command_publishes_all(hub, run_copy, tmp_path):
    write_finetune(tmp_path / "finetune" / "mine", run_copy)
    write_finetune(tmp_path / "finetune" / "another", tmp_path)
    hub.failing = ("/commit/", 403)
    failed = publish(tmp_path, run_copy, "--private")
    assert_refused(
        failed,
        "me/model was not published: 403 the stub says no",
        "a token that may write there is needed: hf auth login, or HF_TOKEN",
    )
    assert hub.files == {"main": {}}
    hub.failing = None
    done = publish(tmp_path, run_copy, "--private")
    assert done.returncode == 0, done.stderr
    exported = run_copy / "export" / "step-00000012"
    assert done.stdout == f"{exported / 'discriminator'}\n"
    assert done.stderr.splitlines()[-1] == (
        "anybody opens it: AutoModel.from_pretrained('me/model')"
    )
    assert hub.messages == ["Step 12"]
    assert hub.repo == {"organization": "me", "name": "model", "visibility": "private"}

    local = tmp_path / "downloaded"
    for name, content in hub.files["main"].items():
        (local / name).parent.mkdir(parents=True, exist_ok=True)
        (local / name).write_bytes(content)
    for name, folder in (("discriminator", local), ("generator", local / "generator")):
        for path in (exported / name).iterdir():
            if path.name != "README.md":
                assert (folder / path.name).read_bytes() == path.read_bytes(), path
    AutoModelForPreTraining.from_pretrained(local)
    AutoModelForMaskedLM.from_pretrained(local, subfolder="generator")
    AutoTokenizer.from_pretrained(local)
    assert (local / "loss_curve.png").read_bytes().startswith(b"\x89PNG")

    card = (local / "README.md").read_text()
    front, text = re.fullmatch(r"---\n(.+?)\n---\n(.+)", card, re.DOTALL).groups()
    assert yaml.safe_load(front) == {
        "license": "apache-2.0", "library_name": "transformers", "tags": ["electra"],
    }  # fmt: skip
    assert text.count("questions.csv") == 1
    assert "| questions.csv | test | accuracy | 80.3 (76.8 to 83.7) | +10.0 (5.0 to 15.0) |" in text
    for part in ("12 of 12 steps of 8 windows", "training FLOPs", "| held-out metric at step 12",
                 "| optim.learning_rate |", "![loss curves](loss_curve.png)"):  # fmt: skip
        assert part in text, part
    assert str(tmp_path) not in text
    assert hub.tokens >= {f"Bearer {TOKEN}"}
    assert TOKEN not in failed.stderr + done.stderr + card
    stored = [path for path in run_copy.rglob("*") if path.is_file()]
    assert not [path for path in stored if TOKEN.encode() in path.read_bytes()]


def test_the_card_has_the_fine_tunes_of_what_is_exported_alone(finished, tmp_path):
    """Named as a run, its exported network, a checkpoint, an export; the generator is another."""
    run = RunDirectory(finished.root)
    names = {
        "run": run.root,
        "network": run.root / "discriminator",
        "early": run.root / "checkpoints" / "step-00000005",
        "exported": run.root / "export" / "step-00000005" / "discriminator",
        "generator": run.root / "generator",
        "early generator": run.root / "export" / "step-00000005" / "generator",
        "elsewhere": tmp_path,
    }
    for name, encoder in names.items():
        write_finetune(tmp_path / "finetune" / name, encoder, train=f"{name}.csv")
    flops = run.read_log()["train_flops"]
    for name, at in (("whole", -1), ("before more training", 0)):
        write_finetune(tmp_path / "finetune" / name, run.root, f"{name}.csv", flops[at])

    def listed(step: int) -> set[str]:
        rows = list(finetune_rows(run, "discriminator", step, tmp_path / "finetune"))[3:]
        return {row.split(" | ")[0].removeprefix("| ").removesuffix(".csv") for row in rows}

    assert listed(12) == {"run", "network", "whole"}
    assert listed(5) == {"early", "exported"}
    assert listed(8) == set()


@pytest.mark.slow
def test_checkpoints_are_published_as_revisions_and_repeats_send_nothing_twice(
    hub, run_copy, tmp_path
):
    options = ("--step", 5, "--revision", "step-5")
    done = publish(tmp_path, run_copy, *options)
    assert done.returncode == 0, done.stderr
    assert "revision='step-5'" in done.stderr
    weights = run_copy / "export" / "step-00000005" / "discriminator" / "model.safetensors"
    assert hub.files["step-5"]["model.safetensors"] == weights.read_bytes()
    assert hub.files["main"] == {}
    hub.failing = ("/stored/", 500)  # what is there already must not be sent again
    shutil.rmtree(run_copy / "export")
    again = publish(tmp_path, run_copy, *options)
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize(
    ("options", "problem", "hint"),
    [
        (("--push-to-hub", "me/model"), "a published model needs a licence", "--license apache"),
        (("--push-to-hub", "model", "--license", "mit"), "'model' is not a name", "ORG/NAME"),
        (("--push-to-hub", "a/b", "--license", "M I T"), "'M I T' is not a licence", "mit"),
        (("--private",), "are of a model that is published", "add --push-to-hub ORG/NAME"),
    ],
)
def test_a_wrong_option_is_said_before_anything_is_written(
    run_copy, electra, options, problem, hint
):
    assert_refused(electra("export", run_copy, *options), problem, hint)
    assert not (run_copy / "export").exists()


@pytest.mark.slow
def test_without_a_hub_the_export_stays(run_copy, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    done = publish(tmp_path, run_copy)
    assert done.returncode == 1
    assert "me/model was not published: " in done.stderr
    assert "the same command tries again" in done.stderr
    assert "Traceback" not in done.stderr
    assert (run_copy / "export" / "step-00000012" / "discriminator").is_dir()
