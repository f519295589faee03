"""`electra train` and `electra resume`, whole runs on real files."""

import json
import signal
import time

import pytest
import torch
from command_line import TINY, run_electra, start_electra
from run_checks import (
    assert_refused,
    assert_same_run,
    event_texts,
    final_weights,
    read_rows,
    wait_for_rows,
)
from transformers import AutoModelForMaskedLM, AutoModelForPreTraining, AutoTokenizer

from electra_cli.presets import load_config
from electra_cli.run_directory import RunDirectory


def test_a_run_leaves_what_the_readme_says(finished, prepared):
    run = RunDirectory(finished.root)
    assert finished.stdout.strip() == "runs/whole"
    assert finished.stderr.strip().splitlines()[-1] == "see how it went: electra plot runs/whole"
    config = load_config(run.config)
    assert config.data.directory == prepared
    assert config.run.num_steps == 12
    assert config.run.micro_batch_size == 8  # resolved
    environment = json.loads(run.environment.read_text())
    assert environment["device"] == "cpu"
    assert environment["torch"] == torch.__version__
    assert run.picture.read_bytes().startswith(b"\x89PNG")
    assert "<html" in run.page.read_text()[:1000]
    assert sorted(path.name for path in run.checkpoints.iterdir()) == [
        "step-00000005",
        "step-00000010",
        "step-00000012",
    ]
    assert not list(finished.root.rglob("*.onnx"))  # of electra export --onnx alone


OWN_COLUMNS = (
    "loss", "mlm_loss", "mlm_masked_loss", "mlm_accuracy", "sampled_accuracy",
    "replaced_fraction", "rtd_loss", "rtd_constant_loss", "rtd_accuracy", "rtd_precision",
    "rtd_recall", "word_loss", "word_accuracy",
)  # fmt: skip
COLUMNS = (
    "step", "epoch", "tokens_seen", "train_flops", *OWN_COLUMNS, "learning_rate", "grad_norm",
    *(f"validation_{name}" for name in OWN_COLUMNS[:-2]), "validation_rtd_auc",
    "validation_rtd_content_auc", "validation_word_loss", "validation_word_accuracy",
    "validation_unigram_entropy",
)  # fmt: skip


def test_the_log_has_a_row_a_log_step_and_held_out_metrics_at_evaluations(finished):
    rows = read_rows(finished.root)
    assert tuple(rows[0]) == COLUMNS
    assert [int(row["step"]) for row in rows] == [2, 4, 6, 8, 10, 12]
    assert [bool(row["validation_rtd_auc"]) for row in rows] == [False, True] * 3
    assert float(rows[-1]["validation_unigram_entropy"]) > 3
    tokens = [int(row["tokens_seen"]) for row in rows]
    assert tokens == sorted(tokens)
    assert 8 * 10 * 12 < tokens[-1] < 8 * 32 * 12


def test_the_exported_models_open_with_the_auto_classes(finished):
    run = RunDirectory(finished.root)
    trained = final_weights(finished.root)
    discriminator, report = AutoModelForPreTraining.from_pretrained(
        run.model("discriminator"), output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    for name, weight in discriminator.state_dict().items():
        assert torch.equal(weight, trained[f"discriminator.{name}"]), name
    generator, report = AutoModelForMaskedLM.from_pretrained(
        run.model("generator"), output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    words = generator.get_input_embeddings().weight
    assert generator.get_output_embeddings().weight.data_ptr() == words.data_ptr()
    assert torch.equal(words, trained["discriminator.electra.embeddings.word_embeddings.weight"])
    for folder in (run.model("discriminator"), run.model("generator")):
        settings = json.loads((folder / "config.json").read_text())
        assert not [key for key in settings if "attn" in key]  # users get the usual attention
        tokenizer = AutoTokenizer.from_pretrained(folder)
        ids = tokenizer("the [MASK] of a file", return_tensors="pt")
        assert tokenizer.mask_token_id in ids.input_ids[0].tolist()
        assert tokenizer.model_max_length == settings["max_position_embeddings"] == 32
        card = (folder / "README.md").read_text()
        assert str(folder) not in card
        assert "runs/" not in card
    assert discriminator(**ids).logits.shape == ids.input_ids.shape


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_run_saves_exits_130_and_goes_on_bit_for_bit(
    tmp_path, prepared, finished, number
):
    process = start_electra(tmp_path, "train", "--data", prepared, "--run-name", "cut", *TINY)
    log = tmp_path / "runs" / "cut" / "training_log.csv"
    wait_for_rows(log, 1)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.fail(f"the run ended before the signal came:\n{stderr}")
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert f"{number.name}: stopped and saved at step" in stderr
    assert stderr.strip().splitlines()[-1] == "go on with: electra resume runs/cut"
    resumed = run_electra(tmp_path, "resume", "runs/cut")
    assert resumed.returncode == 0, resumed.stderr
    root = tmp_path / "runs" / "cut"
    assert_same_run(root, finished.root)
    assert event_texts(root, "stopped") == [stderr.strip().splitlines()[-2]]
    assert event_texts(root, "resumed")[0].startswith("from step ")


def test_a_killed_run_goes_on_from_its_last_checkpoint_bit_for_bit(tmp_path, prepared, finished):
    process = start_electra(tmp_path, "train", "--data", prepared, "--run-name", "cut", *TINY)
    root = tmp_path / "runs" / "cut"
    deadline = time.monotonic() + 60
    while not (root / "checkpoints" / "step-00000005").exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    process.communicate(timeout=60)
    with (root / "training_log.csv").open("a") as log:
        log.write("11,0.5,12")  # a row that the kill cut in half
    resumed = run_electra(tmp_path, "resume", "runs/cut")
    assert resumed.returncode == 0, resumed.stderr
    assert "from step" in resumed.stderr
    assert_same_run(root, finished.root)


@pytest.mark.slow
def test_every_step_can_be_the_last_before_a_kill(tmp_path, prepared, finished):
    """A checkpoint a step: going on from each of them gives the same run."""
    options = [*TINY, "--set", "run.save_every=1", "--set", "run.keep_checkpoints=20"]
    done = run_electra(tmp_path, "train", "--data", prepared, "--run-name", "each", *options)
    assert done.returncode == 0, done.stderr
    root = tmp_path / "runs" / "each"
    assert_same_run(root, finished.root)
    for step in (1, 4, 7, 11):
        resumed = run_electra(tmp_path, "resume", "runs/each", "--step", step)
        assert resumed.returncode == 0, resumed.stderr
        assert_same_run(root, finished.root)


@pytest.mark.slow
def test_a_finished_run_can_be_finished_again(finished):
    before = read_rows(finished.root)
    again = run_electra(finished.root.parents[1], "resume", "runs/whole")
    assert again.returncode == 0, again.stderr
    assert read_rows(finished.root) == before


@pytest.mark.slow
def test_options_reach_the_run(tmp_path, prepared):
    done = run_electra(
        tmp_path,
        "train",
        f"--data={prepared}",
        "--preset=small",
        *TINY,
        "--steps=3",  # --set run.num_steps=12 comes later and wins
        "--set=run.micro_batch_size=4",
        "--set=run.gradient_checkpointing=true",
        "--set=model.tie_embeddings=false",
        "--set=model.position_init=sinusoidal",
        "--set=optim.max_grad_norm=null",
        "--learning-rate=0.001",
    )
    assert done.returncode == 0, done.stderr
    (root,) = (tmp_path / "runs").iterdir()
    assert root.name.startswith("small-20")
    config = load_config(RunDirectory(root).config)
    assert config.optim.learning_rate == 0.001
    assert config.optim.max_grad_norm is None
    assert config.run.num_steps == 12
    assert config.run.micro_batch_size == 4


@pytest.mark.slow
def test_a_dry_run_shows_the_plan_and_writes_nothing(tmp_path, prepared):
    done = run_electra(tmp_path, "train", "--data", prepared, "--preset", "small", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    for part in ("steps", "1,000,000", "epochs", "training FLOPs", "memory", "time"):
        assert part in done.stderr, part
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_dry_run_needs_no_data(tmp_path):
    done = run_electra(tmp_path, "train", "--preset", "small", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["main_parameters"] == 13_549_057
    assert plan["num_epochs"] is None
    assert plan["total_tokens"] == 1_000_000 * 128 * 128
    assert plan["seconds"] > plan["training_flops"] / plan["flops_per_second"]
    assert plan["warnings"] == []
    assert done.stderr == ""


def test_json_is_of_a_plan_alone(electra):
    done = electra("train", "--preset", "tiny", "--json")
    assert_refused(done, "--json prints the plan, which needs --dry-run", "electra status --json")


@pytest.mark.slow
def test_compiled_encoders_train_the_same_model(tmp_path, prepared, finished):
    options = [*TINY, "--set", "run.compile=true", "--set", "model.hidden_dropout_prob=0"]
    plain = [*TINY, "--set", "model.hidden_dropout_prob=0"]
    for name, base in (("compiled", options), ("plain", plain)):
        chosen = [*base, "--set", "model.attention_probs_dropout_prob=0"]
        done = run_electra(tmp_path, "train", "--data", prepared, "--run-name", name, *chosen)
        assert done.returncode == 0, done.stderr
    compiled = read_rows(tmp_path / "runs" / "compiled")
    eager = read_rows(tmp_path / "runs" / "plain")
    for found, expected in zip(compiled, eager, strict=True):
        assert float(found["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-4)
