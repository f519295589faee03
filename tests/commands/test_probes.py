"""Probes while training, through the real command."""

import csv
import json
from pathlib import Path

import pytest
from command_line import TINY, run_electra, write_preset
from launched import run_together
from run_checks import assert_refused, final_weights, read_rows
from tiny_tasks import write_classes

pytestmark = pytest.mark.slow  # the commands load torch

PAIRS = {"validation_pairs_discriminator", "validation_pairs_generator"}
OF_TOKENS = {f"{name}_by_token" for name in PAIRS}
LABELS = {"validation_probe_accuracy", "validation_probe_layer", "validation_probe_last_accuracy"}


def write_pairs(path: Path) -> Path:
    rows = [
        {"good": f"the name of file {n}", "bad": f"name the file of {n}", "paradigm": f"p{n % 3}"}
        for n in range(12)
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("probes")
    paths = [write_classes(folder / "classes.csv", 40), write_pairs(folder / "pairs.jsonl")]
    return [f"--probe={path}" for path in paths]


def command(prepared: Path, name: str, *more: object) -> list[object]:
    """Of a run that is the same in several processes: dropout depends on the micro-batches."""
    no_dropout = ["hidden_dropout_prob=0", "attention_probs_dropout_prob=0"]
    options = ["--run-name", name, "--data", prepared, *TINY]
    options += [f"--set=model.{each}" for each in no_dropout]
    return ["train", "--preset", "small", *options, *more]


def train(folder: Path, prepared: Path, name: str, *more: object):
    return run_electra(folder, *command(prepared, name, *more))


@pytest.fixture(scope="module")
def probed(tmp_path_factory, prepared, files) -> Path:
    folder = tmp_path_factory.mktemp("probed")
    done = train(folder, prepared, "a", *files, "--set=run.probe_every=4")
    assert done.returncode == 0, done.stderr
    assert "probes" in done.stderr
    assert "every 4 steps, at most" in done.stderr
    return folder / "runs" / "a"


def test_the_log_has_their_figures_at_every_evaluation(probed):
    rows = {int(row["step"]): row for row in read_rows(probed)}
    assert rows.keys() == {2, 4, 6, 8, 10, 12}
    for step, row in rows.items():
        for name in PAIRS | OF_TOKENS | LABELS:
            assert (row[name] != "") == (step % 4 == 0), (step, name)
    assert all(0 <= float(rows[12][name]) <= 1 for name in PAIRS | {"validation_probe_accuracy"})
    assert rows[12]["validation_probe_layer"] in ("0.0", "1.0", "2.0", "0", "1", "2")


def test_processes_share_them_and_find_the_same(probed, tmp_path, prepared, files):
    more = [*files, "--set=run.probe_every=4"]
    first, second = run_together(tmp_path, 2, *command(prepared, "a", *more))
    assert (first.code, second.code, second.stderr) == (0, 0, ""), first.stderr
    for row, expected in zip(read_rows(tmp_path / "runs" / "a"), read_rows(probed), strict=True):
        assert row.keys() == expected.keys()
        for name in PAIRS | OF_TOKENS | LABELS:
            found, wanted = (float(each[name] or "nan") for each in (row, expected))
            assert found == pytest.approx(wanted, rel=1e-5, nan_ok=True), (row["step"], name)


def test_the_run_is_bit_for_bit_what_it_is_without_them(probed, tmp_path, prepared):
    done = train(tmp_path, prepared, "plain")
    assert done.returncode == 0, done.stderr
    plain = tmp_path / "runs" / "plain"
    new = PAIRS | OF_TOKENS | LABELS
    rows = [{k: v for k, v in row.items() if k not in new} for row in read_rows(probed)]
    assert rows == read_rows(plain)
    weights, wanted = final_weights(probed), final_weights(plain)
    assert all((weights[name] == wanted[name]).all() for name in wanted)


def test_a_resumed_run_has_the_same_figures(probed, tmp_path):
    rows = read_rows(probed)
    done = run_electra(tmp_path, "resume", probed, "--step", 5)
    assert done.returncode == 0, done.stderr
    assert read_rows(probed) == rows


def test_the_page_draws_them(probed, tmp_path):
    done = run_electra(tmp_path, "plot", probed)
    assert done.returncode == 0, done.stderr
    page = (probed / "loss_curve.html").read_text()
    for title in ("Labels found", "Pairs, discriminator", "Pairs, generator"):
        assert f"<b>{title}</b>" in page


def test_where_nothing_is_said_they_cost_less_than_a_twentieth(tmp_path, prepared, files):
    done = train(tmp_path, prepared, "a", *files, "--dry-run", "--set=run.num_steps=100000")
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if "probes" in line)
    words = line.split()
    share = float(next(word for word in words if word.endswith("%")).rstrip("%"))
    every = int(words[words.index("every") + 1].replace(",", ""))
    assert 0 < share <= 5
    assert every % 4 == 0
    assert every > 4


def test_a_file_that_cannot_be_used_is_named_before_a_run_begins(tmp_path, prepared):
    path = tmp_path / "nothing.csv"
    path.write_text("a,b\n1,2\n")
    done = train(tmp_path, prepared, "a", "--probe", path)
    assert_refused(done, "has columns a, b", "text and label")
    assert not (tmp_path / "runs").exists()


def test_a_search_may_rank_by_a_probe_that_the_preset_names(tmp_path, prepared, files):
    classes = files[0].removeprefix("--probe=")
    preset = write_preset(tmp_path / "a.yaml", run__num_steps=4, run__eval_every=2)
    options = ["--preset", preset, "--data", prepared, "--trials", "2"]
    done = run_electra(tmp_path, "tune", *options, "--metric", "probe_accuracy")
    assert_refused(done, "--metric probe_accuracy needs a file", "run.probes")
    preset = write_preset(
        tmp_path / "b.yaml", run__num_steps=4, run__eval_every=2, run__probes=f"[{classes}]"
    )
    options[1] = preset
    done = run_electra(tmp_path, "tune", *options, "--metric", "probe_accuracy")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "tune" / "b" / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["complete", "complete"]
    assert all(0 <= float(row["probe_accuracy"]) <= 1 for row in rows)
