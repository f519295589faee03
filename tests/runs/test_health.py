"""Warnings about a run: each rule on figures, and the real command that raises them."""

import json
from pathlib import Path

import pytest
from command_line import TINY, run_electra
from conftest import tiny_config

from electra_cli.metrics import Metrics, StepMetrics, log_row
from electra_cli.run_directory import RunDirectory
from electra_cli.run_events import append_event
from electra_cli.runs.health import (
    Evaluation,
    HealthMonitor,
    find_overfitting,
    warnings_before_training,
)

CONFIG = tiny_config(
    run={"num_steps": 600, "log_every": 10, "eval_every": 50}, optim={"num_warmup_steps": 250}
)
HEALTHY: Metrics = {
    "loss": 8.0,
    "mlm_loss": 3.5,
    "mlm_masked_loss": 3.7,
    "unigram_entropy": 6.0,
    "rtd_loss": 0.30,
    "rtd_constant_loss": 0.35,
    "mlm_accuracy": 0.4,
    "sampled_accuracy": 0.3,
    "replaced_fraction": 0.11,
    "rtd_accuracy": 0.9,
    "rtd_precision": 0.7,
    "rtd_recall": 0.2,
    "rtd_auc": 0.8,
    "rtd_content_auc": 0.7,
}
NO_CONTEXT = {"mlm_masked_loss": 5.99}


def step_metrics(step: int, loss: float = 8.0) -> StepMetrics:
    figures = dict.fromkeys(StepMetrics.__dataclass_fields__, 0.0)
    own = {"step": step, "tokens_seen": step, "objective": {"loss": loss}}
    return StepMetrics(**{**figures, **own})


def keys(tmp_path: Path, step: int, **figures: float | None) -> list[str]:
    monitor = HealthMonitor(CONFIG, RunDirectory(tmp_path))
    found = monitor.check(step_metrics(step), {**HEALTHY, **figures})
    assert all(warning.problem and warning.hint for warning in found)
    return [warning.key for warning in found]


@pytest.mark.parametrize(
    ("step", "figures", "expected"),
    [
        (500, {}, []),
        (190, NO_CONTEXT, []),  # before a third of a short run
        (200, NO_CONTEXT, ["plateau"]),
        (200, {"mlm_masked_loss": 5.90}, []),  # a tenth of a nat: learning has begun
        (200, {"mlm_masked_loss": None}, []),  # no generator
        (240, {"rtd_loss": 0.36}, []),  # before the end of the warm-up
        (250, {"rtd_loss": 0.36}, ["chance"]),
        (250, {"rtd_content_auc": 0.5}, ["chance"]),  # knows special tokens alone
        (250, {"rtd_loss": None, "rtd_constant_loss": None, "rtd_content_auc": None}, []),
        (10, {"replaced_fraction": 0.029}, ["few_replaced"]),
        (10, {"replaced_fraction": 0.03}, []),
        (10, {"replaced_fraction": None}, []),
    ],
)
def test_a_rule_speaks_when_its_figures_say_so(tmp_path, step, figures, expected):
    assert keys(tmp_path, step, **figures) == expected


@pytest.mark.parametrize(("auc", "expected"), [(0.505, ["chance"]), (0.506, [])])
def test_chance_ends_above_an_auc_of_0_505(tmp_path, auc, expected):
    assert keys(tmp_path, 300, rtd_content_auc=auc) == expected


@pytest.mark.parametrize(
    ("step", "auc", "changes", "expected"),
    [
        (400, 0.506, {}, ["weak"]),
        (400, 0.599, {}, ["weak"]),
        (400, 0.6, {}, []),
        (390, 0.55, {}, []),  # before two thirds of the run
        (400, 0.5, {}, ["chance"]),
        (400, 0.55, {"model": {"tie_encoders": True, "generator_width": 1.0}}, []),
        (400, 0.55, {"objective": {"name": "electra_masked_only"}}, []),
    ],
)
def test_a_discriminator_that_knows_little_at_the_end_is_told(
    tmp_path, step, auc, changes, expected
):
    run = {"num_steps": 600, "log_every": 10, "eval_every": 50}
    monitor = HealthMonitor(tiny_config(run=run, **changes), RunDirectory(tmp_path))
    found = monitor.check(step_metrics(step), {**HEALTHY, "rtd_content_auc": auc})
    assert [warning.key for warning in found] == expected


@pytest.mark.parametrize(
    ("num_steps", "patience"), [(12, 4), (3_000, 1_000), (9_000, 1_000), (1_000_000, 100_000)]
)
def test_a_run_has_time_to_learn_before_it_is_judged(tmp_path, num_steps, patience):
    config = tiny_config(run={"num_steps": num_steps})
    bad = {**HEALTHY, **NO_CONTEXT, "rtd_content_auc": 0.5}
    monitor = HealthMonitor(config, RunDirectory(tmp_path))
    assert monitor.check(step_metrics(patience - 1), bad) == []
    found = [warning.key for warning in monitor.check(step_metrics(patience), bad)]
    assert found == ["plateau", "chance"]


def test_a_warning_is_raised_once_also_over_a_resume(tmp_path):
    run = RunDirectory(tmp_path)
    monitor = HealthMonitor(CONFIG, run)
    bad = {**HEALTHY, **NO_CONTEXT}
    assert [w.key for w in monitor.check(step_metrics(210), bad)] == ["plateau"]
    assert monitor.check(step_metrics(220), bad) == []
    append_event(run.events, 210, "warning", "no context gain yet", "plateau")
    assert HealthMonitor(CONFIG, run).check(step_metrics(230), bad) == []


def evaluations(*losses: tuple[float, float]) -> list[Evaluation]:
    return [Evaluation(50 * i, train, held_out) for i, (train, held_out) in enumerate(losses, 1)]


@pytest.mark.parametrize(
    ("losses", "is_overfitting"),
    [
        ([(9, 9), (8, 8.5), (7, 8.6), (6, 8.7)], True),
        ([(9, 9), (8, 8.5), (7, 8.6)], False),  # one rise may be chance
        ([(9, 9), (8, 8.5), (8.1, 8.6), (8.2, 8.7)], False),  # the task became harder
        ([(9, 9), (8, 8.5), (7, 8.6), (6, 8.55)], False),  # falls again
        ([(9, 9), (8, 8.5), (7, 8.6), (6, 8.6)], False),  # rose once
        ([(9, 9), (8, 8), (7, 7), (6, 6)], False),
        ([(9, 9), (8, 8.7), (8, 8.5), (7, 8.6), (6, 8.7)], True),
    ],
)
def test_overfitting_is_held_out_loss_up_and_training_loss_down(losses, is_overfitting):
    assert (find_overfitting(evaluations(*losses)) is not None) == is_overfitting


def test_overfitting_is_seen_across_a_resume(tmp_path):
    run = RunDirectory(tmp_path)
    for step, train, held_out in [(50, 9.0, 9.0), (100, 8.0, 8.5), (150, 7.0, 8.6)]:
        validation = {**HEALTHY, "loss": held_out}
        run.append_row(log_row(step_metrics(step, train), validation))
        run.append_row(log_row(step_metrics(step + 10, train), None))
    monitor = HealthMonitor(CONFIG, run)
    found = monitor.check(step_metrics(200, 6.0), {**HEALTHY, "loss": 8.7})
    assert [warning.key for warning in found] == ["overfitting"]


@pytest.mark.parametrize(
    ("epochs", "unknown", "expected"),
    [(40.0, 0.01, []), (41.0, 0.0, ["epochs"]), (1.0, 0.011, ["unknown"]), (None, None, [])],
)
def test_what_can_be_said_before_the_first_step(epochs, unknown, expected):
    assert [w.key for w in warnings_before_training(CONFIG, 1e9, epochs, unknown)] == expected


@pytest.mark.parametrize(
    ("tokens", "sections", "is_warned"),
    [
        (12e6, {}, True),
        (13e6, {}, False),
        (12e6, {"model": {"tie_encoders": True, "generator_width": 1}}, False),
        (12e6, {"objective": {"name": "mlm"}}, False),
        (12e6, {"model": {"init_from": "runs/mlm"}}, False),
    ],
)
def test_a_discriminator_that_reads_little_is_said_to_be_worse_than_none(
    tokens, sections, is_warned
):
    found = [w.key for w in warnings_before_training(tiny_config(**sections), tokens, None, None)]
    assert found == ["few_tokens"] * is_warned


def test_a_warm_up_longer_than_the_run_is_said():
    config = tiny_config(run={"num_steps": 6}, optim={"num_warmup_steps": 6})
    assert [w.key for w in warnings_before_training(config, 1e9, None, None)] == ["warmup"]


def test_the_command_warns_once_and_notes_it_in_the_run(finished):
    """12 steps teach nothing: the run is on the plateau, and its discriminator at chance."""
    events = [json.loads(line) for line in (finished.root / "events.jsonl").open()]
    raised = [event["key"] for event in events if event["kind"] == "warning"]
    assert "plateau" in raised
    assert len(raised) == len(set(raised))
    assert finished.stderr.count("no context gain yet at step 4") == 1
    assert finished.stderr.count("no context gain yet") == 1
    line = finished.stderr.splitlines().index(
        next(text for text in finished.stderr.splitlines() if "no context gain" in text)
    )
    assert finished.stderr.splitlines()[line + 1].startswith("  hint: it may still come")


@pytest.mark.slow
def test_the_command_warns_of_unknown_tokens_and_many_epochs(tmp_path, prepared):
    """Text in another script than the tokenizer's is [UNK] throughout."""
    corpus = tmp_path / "greek.txt"
    # Copies of a document are dropped, so each has a length of its own.
    corpus.write_text("\n\n".join("the of αβγδ and εζηθ " * (4 + i) for i in range(60)))
    tokenizer = prepared / "tokenizer"
    done = run_electra(tmp_path, "prepare", corpus, "--tokenizer", tokenizer, "--out", "greek")
    assert done.returncode == 0, done.stderr
    options = [*TINY, "--set=run.num_steps=100000", "--dry-run"]
    done = run_electra(tmp_path, "train", "--data", "greek", *options)
    assert done.returncode == 0, done.stderr
    assert "[UNK] stands for" in done.stderr
    assert "the run reads its corpus" in done.stderr
    assert not (tmp_path / "runs").exists()
