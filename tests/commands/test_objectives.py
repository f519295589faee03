"""The other objectives through the real command: what they log and what they leave."""

import csv

import pytest
from command_line import TINY, run_electra
from transformers import AutoModelForMaskedLM, AutoTokenizer

from electra_cli.run_directory import RunDirectory


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "folders", "logged", "empty"),
    [
        (
            "mlm",
            {"masked_lm"},
            ["mlm_loss", "sampled_accuracy"],
            ["rtd_loss", "replaced_fraction", "word_loss", "validation_rtd_auc"],
        ),
        (
            "all_tokens_mlm",
            {"masked_lm", "generator"},
            ["mlm_loss", "word_loss", "word_accuracy", "replaced_fraction"],
            ["rtd_loss", "rtd_recall", "validation_rtd_auc"],
        ),
    ],
)
def test_an_objective_without_a_discriminator(tmp_path, prepared, name, folders, logged, empty):
    setting = f"--set=objective.name={name}"
    # An option that does nothing is refused: mlm has no generator.
    options = [each for each in TINY if name != "mlm" or "generator_width" not in each]
    arguments = ("--data", prepared, "--run-name", "words", *options, setting)
    done = run_electra(tmp_path, "train", *arguments)
    assert done.returncode == 0, done.stderr
    assert "the trained encoder: runs/words/masked_lm" in done.stderr
    run = RunDirectory(tmp_path / "runs" / "words")
    assert {p.parent.name for p in run.root.glob("*/model.safetensors")} == folders
    for folder in folders:
        model, report = AutoModelForMaskedLM.from_pretrained(
            run.model(folder), output_loading_info=True
        )
        assert not report["missing_keys"]
        assert not report["unexpected_keys"]
        ids = AutoTokenizer.from_pretrained(run.model(folder))("the [MASK]", return_tensors="pt")
        assert model(**ids).logits.shape[:2] == ids.input_ids.shape
    with run.log.open() as file:
        last = list(csv.DictReader(file))[-1]
    assert all(last[column] for column in logged)
    assert not any(last[column] for column in empty)
    assert float(last["validation_loss"]) > 1
    done = run_electra(tmp_path, "plot", run.root, "--png", "curves.png")
    assert done.returncode == 0, done.stderr
    page = run.page.read_text()
    assert 'data-training="mlm_loss"' in page
    assert 'data-training="rtd_loss"' not in page
