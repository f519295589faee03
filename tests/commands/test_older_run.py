"""A run and a data folder that an older version made go on."""

import csv
import shutil
from pathlib import Path

import pytest
import torch
from command_line import run_electra
from run_checks import TIMES, final_weights, read_rows
from safetensors.torch import load_file

MADE = Path(__file__).parents[1] / "made_by_0.1.0"


@pytest.fixture(scope="module")
def gone_on(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the older version left, with its stopped run trained to the end."""
    made = shutil.copytree(MADE, tmp_path_factory.mktemp("older") / "made")
    done = run_electra(made, "resume", "runs/stopped", "--set=run.keep_checkpoints=9")
    assert done.returncode == 0, done.stderr
    assert "resuming runs/stopped from step 16 of 60" in done.stderr
    return made


@pytest.mark.slow
def test_a_run_stopped_by_an_older_version_comes_to_what_that_would_have(gone_on):
    """Within rounding: another processor adds up in another order."""
    with (MADE / "expected_log.csv").open(newline="") as file:
        expected = list(csv.DictReader(file))
    rows = read_rows(gone_on / "runs" / "stopped")
    assert [list(row) for row in rows] == [[k for k in row if k not in TIMES] for row in expected]
    for row, wanted in zip(rows, expected, strict=True):
        for name, value in row.items():
            if not value:
                assert wanted[name] == "", name
            else:
                assert float(value) == pytest.approx(float(wanted[name]), rel=1e-3, abs=1e-6), name
        # The tokens since the last row were saved with the older checkpoint.
        assert row["tokens_seen"] == wanted["tokens_seen"]
    weights, wanted_weights = (
        final_weights(gone_on / "runs" / "stopped"),
        load_file(MADE / "expected.safetensors"),
    )
    assert weights.keys() == wanted_weights.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(weight, wanted_weights[name], rtol=0, atol=1e-4)


@pytest.mark.slow
def test_a_resumed_older_run_is_verified_bit_for_bit(gone_on):
    done = run_electra(gone_on, "resume", "runs/stopped", "--verify")
    assert done.returncode == 0, done.stderr
    assert "steps 51 to 60 came out the same, bit for bit" in done.stdout
    older = run_electra(gone_on, "resume", "runs/stopped", "--verify", "--step", 20)
    assert older.returncode == 0, older.stderr
    assert "steps 17 to 20 came out the same, bit for bit" in older.stdout


@pytest.mark.slow
def test_an_older_data_folder_is_trained_from(tmp_path):
    made = shutil.copytree(MADE, tmp_path / "made")
    options = ["--preset", "preset.yaml", "--data", "data/words", "--steps", 12]
    done = run_electra(made, "train", *options, "--run-name", "new", "--set=run.eval_every=10")
    assert done.returncode == 0, done.stderr
    assert read_rows(made / "runs" / "new")[-1]["step"] == "12"
