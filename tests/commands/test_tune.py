"""`electra tune`, whole searches on real files."""

import csv
import json
import os
import pty
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
import torch
from command_line import (
    electra_command,
    electra_environment,
    run_electra,
    write_corpus,
    write_preset,
)
from conftest import CPU
from safetensors.torch import load_file

from electra_cli.cli import main
from electra_cli.data.prepared import open_data
from electra_cli.disk import sha256_of
from electra_cli.presets import load_config, load_preset
from electra_cli.run_directory import RunDirectory
from electra_cli.runs.session import build_model
from electra_cli.tuning.trial import is_out_of_memory, trial_config
from electra_cli.tuning.yardstick import load_corruption, score_discriminator

TRIALS = 7


@dataclass(frozen=True)
class Searched:
    folder: Path
    preset: Path
    stdout: str
    stderr: str

    @property
    def root(self) -> Path:
        return self.folder / "tune" / "mini"

    def trial(self, number: int) -> RunDirectory:
        return RunDirectory(self.root / f"trial-{number:04d}")

    def study(self) -> optuna.Study:
        return optuna.load_study(study_name="mini", storage=f"sqlite:///{self.folder}/tune/mini.db")


def read_trials(root: Path) -> list[dict[str, str]]:
    with (root / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def succeed(arguments: list[str]) -> None:
    """Run a command in this process."""
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 0


@pytest.fixture(scope="session")
def searched(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """A search over the default space, with its own data folder."""
    folder = tmp_path_factory.mktemp("searched")
    preset = write_preset(folder / "mini.yaml")
    shutil.copytree(prepared, folder / "data" / "words")
    done = run_electra(folder, "tune", "--preset", "mini.yaml", "--trials", TRIALS, "--json")
    assert done.returncode == 0, done.stderr
    return Searched(folder, preset, done.stdout, done.stderr)


@pytest.mark.slow
def test_a_search_leaves_what_the_readme_says(searched):
    best = json.loads(searched.stdout)
    assert best["best_preset"] == "tune/mini/best.yaml"
    assert best["states"]["complete"] == len(best["trials"])
    values = [trial["value"] for trial in best["trials"]]
    assert values == sorted(values, reverse=best["direction"] == "maximize")
    assert best["preset_value"] in values
    last = searched.stderr.strip().splitlines()[-1]
    assert last == "train with the best settings: electra train --preset tune/mini/best.yaml"
    assert (searched.folder / "tune" / "mini.db").is_file()
    for name in ("best.yaml", "trials.csv", "study.html", "yardstick.safetensors"):
        assert (searched.root / name).is_file()
    for number in range(TRIALS):
        run = searched.trial(number)
        assert run.config.is_file()
        assert run.environment.is_file()
        assert len(run.read_log()["step"]) >= 1
    assert sorted(path.name for path in searched.root.iterdir() if path.is_dir()) == [
        f"trial-{number:04d}" for number in range(TRIALS)
    ]


@pytest.mark.slow
def test_trial_0_is_the_preset_unchanged(searched):
    config = load_config(searched.trial(0).config)
    preset = load_preset(str(searched.preset))
    assert config.model == preset.model
    assert config.objective == preset.objective
    assert config.optim == preset.optim
    same = ("num_steps", "batch_size", "seed", "precision")
    assert {k: getattr(config.run, k) for k in same} == {k: getattr(preset.run, k) for k in same}


@pytest.mark.slow
def test_trials_cost_the_same_training_flops_generator_included(searched):
    rows = [row for row in read_trials(searched.root) if row["state"] == "complete"]
    assert len({row["generator_hidden_size"] for row in rows}) > 1
    assert len({row["num_steps"] for row in rows}) > 1
    budget = float(rows[0]["train_flops"])
    for row in rows:
        a_step = float(row["train_flops"]) / int(row["num_steps"])
        # Half a step of rounding, and windows of random length.
        assert abs(float(row["train_flops"]) - budget) < 0.5 * a_step + 0.1 * budget


@pytest.mark.slow
def test_a_pruned_trial_stops_where_it_was_pruned_and_leaves_no_checkpoint(searched):
    pruned = [row for row in read_trials(searched.root) if row["state"] == "pruned"]
    assert pruned
    for row in pruned:
        assert int(row["steps"]) < int(row["num_steps"])
        run = searched.trial(int(row["trial"]))
        assert run.read_log()["step"][-1] == int(row["steps"])
        assert not run.checkpoints.exists()


@pytest.mark.slow
def test_the_best_trials_score_is_its_discriminators_on_the_yardstick(searched):
    """Recomputed from the saved weights and the corrupted text, without the study."""
    best = min(
        (row for row in read_trials(searched.root) if row["state"] == "complete"),
        key=lambda row: float(row["yardstick_rtd_loss"]),
    )
    run = searched.trial(int(best["trial"]))
    config = load_config(run.config)
    assert config.data.directory is not None
    data = open_data(config.data.directory)
    model = build_model(config, data.manifest.vocab_size, data.pad_id)
    (checkpoint,) = run.checkpoints.iterdir()
    weights = load_file(checkpoint / "model.safetensors")
    missing = model.load_state_dict(weights, strict=False)
    assert not missing.unexpected_keys
    path = searched.root / "yardstick.safetensors"
    yardstick = load_corruption(path, sha256_of(path), "here")
    score = score_discriminator(model, yardstick, CPU, 8)
    assert score.rtd_loss == pytest.approx(float(best["yardstick_rtd_loss"]), abs=1e-6)
    assert score.rtd_content_auc == pytest.approx(
        float(best["yardstick_rtd_content_auc"]), abs=1e-6
    )


@pytest.mark.slow
def test_every_trial_is_evaluated_on_the_same_masks(searched):
    """How many tokens are masked shows in the share that is replaced."""
    logs = [searched.trial(number).read_log() for number in range(TRIALS)]
    fractions = [
        next(value for value in log["validation_replaced_fraction"] if value is not None)
        for log in logs
    ]
    trained = [
        load_config(searched.trial(number).config).objective.mask_fraction
        for number in range(TRIALS)
    ]
    assert max(trained) > 2 * min(trained)
    assert max(fractions) < 1.2 * min(fractions)


@pytest.mark.slow
def test_trials_csv_says_what_the_study_says(searched):
    trials = searched.study().trials
    rows = read_trials(searched.root)
    assert [int(row["trial"]) for row in rows] == [trial.number for trial in trials]
    for row, trial in zip(rows, trials, strict=True):
        assert row["state"] == trial.state.name.lower()
        assert float(row["yardstick_rtd_loss"]) == trial.value
        for name, value in trial.params.items():
            assert float(row[name]) == value
    shares = [tuple(trial.intermediate_values) for trial in trials[1:]]
    assert all(set(found) <= set(range(1, 10)) for found in shares)
    # A trial of nine steps has no step at every tenth.
    assert max(len(found) for found in shares) >= 7


@pytest.mark.slow
def test_the_best_settings_are_a_preset_that_trains(searched, capsys, monkeypatch):
    monkeypatch.chdir(searched.folder)
    best = searched.study().best_trial
    config = load_preset("tune/mini/best.yaml")
    trial = load_config(searched.trial(best.number).config)
    assert config.model == trial.model
    assert config.objective == trial.objective
    assert config.optim == trial.optim
    assert config.run.num_steps == trial.run.num_steps
    assert config.run.log_every == 2  # the preset's own, not that of a trial
    assert config.data.directory is None
    succeed(["train", "--preset", "tune/mini/best.yaml", "--dry-run"])
    assert f"{config.run.num_steps:,}" in capsys.readouterr().err


@pytest.mark.slow
def test_trials_are_normal_runs_to_plot(searched, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(searched.folder)
    runs = sorted(str(path) for path in searched.root.glob("trial-*"))
    succeed(["plot", *runs, "--out", str(tmp_path / "all.html")])
    assert capsys.readouterr().out.strip() == str(tmp_path / "all.html")


@pytest.mark.slow
def test_the_same_search_draws_the_same_trials(searched, tmp_path, prepared):
    shutil.copy(searched.preset, tmp_path)
    done = run_electra(tmp_path, "tune", "--preset=mini.yaml", f"--data={prepared}", "--trials=3")
    assert done.returncode == 0, done.stderr
    again = read_trials(tmp_path / "tune" / "mini")
    clock = ("seconds", "host", "pid")
    for row, other in zip(again, read_trials(searched.root)[:3], strict=True):
        assert {k: v for k, v in row.items() if k not in clock} == {
            k: v for k, v in other.items() if k not in clock
        }


def run_in_terminal(folder: Path, *arguments: object) -> str:
    """What a person sees of a command that succeeds, without control codes."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        electra_command(*arguments),
        cwd=folder,
        env={**electra_environment(), "TERM": "xterm", "COLUMNS": "80"},
        stdin=terminal,
        stdout=subprocess.DEVNULL,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    with suppress(OSError):  # the terminal's end is an error of reading it
        while chunk := os.read(controller, 65_536):
            shown += chunk
    os.close(controller)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert process.wait(timeout=60) == 0, text
    return text


@pytest.mark.slow
def test_running_it_again_goes_on_up_to_the_total_and_shows_the_best_trials_meanwhile(
    searched, tmp_path
):
    folder = tmp_path / "copy"
    shutil.copytree(searched.folder, folder)
    before = read_trials(folder / "tune" / "mini")
    text = run_in_terminal(folder, "tune", "--preset", "mini.yaml", "--trials", TRIALS + 1)
    assert f"{TRIALS} of {TRIALS + 1} trials done" in text
    table = text.index("best trials of mini (")
    progress = text.index("training", table)
    assert progress < text.index(f"trial {TRIALS} ", progress)
    after = read_trials(folder / "tune" / "mini")
    assert after[:-1] == before
    assert len(after) == TRIALS + 1


# Wrong input


def refuse(arguments: list[str], capsys) -> str:
    """Run a command that is refused: two lines, nothing on stdout."""
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    *_, problem, hint = shown.err.strip().splitlines()
    assert problem.startswith("error: "), shown.err
    assert hint.startswith("  hint: "), shown.err
    return f"{problem}\n{hint}"


@pytest.mark.slow
def test_a_study_of_something_else_is_refused_with_what_differs(
    searched, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(searched.folder)
    other = str(write_preset(tmp_path / "mini.yaml", optim__learning_rate=1e-3))
    text = refuse(["tune", "--preset", other, "--study", "mini"], capsys)
    assert "optim.learning_rate 0.0002, not 0.001" in text
    text = refuse(["tune", "--preset", "mini.yaml", "--steps", "6"], capsys)
    assert "run.num_steps 12, not 6" in text
    text = refuse(["tune", "--preset", "mini.yaml", "--metric", "mlm_loss"], capsys)
    assert "metric yardstick_rtd_loss, not mlm_loss" in text
    corpus = write_corpus(tmp_path / "corpus.txt", 300, seed=1)
    data = tmp_path / "other"
    options = ["--out", data, "--vocab-size", 150, "--validation-fraction", 0.1]
    assert run_electra(tmp_path, "prepare", corpus, *options).returncode == 0
    text = refuse(["tune", "--preset", "mini.yaml", "--data", str(data)], capsys)
    assert re.search(r"data [0-9a-f]{16}, not [0-9a-f]{16}", text)


@pytest.mark.slow
def test_trials_whose_study_is_gone_are_not_overwritten(searched, tmp_path, capsys, monkeypatch):
    shutil.copytree(searched.folder, tmp_path / "copy")
    (tmp_path / "copy" / "tune" / "mini.db").unlink()
    monkeypatch.chdir(tmp_path / "copy")
    text = refuse(["tune", "--preset", "mini.yaml"], capsys)
    assert "tune/mini holds trials of a study that --storage does not have" in text
    assert len(RunDirectory(Path("tune/mini/trial-0000")).read_log()["step"]) == 12


@pytest.mark.slow
def test_a_changed_yardstick_is_refused(searched, tmp_path, capsys, monkeypatch):
    shutil.copytree(searched.folder, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    with Path("tune/mini/yardstick.safetensors").open("ab") as file:
        file.write(b"x")
    text = refuse(["tune", "--preset", "mini.yaml", "--trials", "20"], capsys)
    assert "is not the text that the other trials were scored on" in text


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--metric", "rtd_loss"], ["does not compare", "own generator", "yardstick_rtd_loss"]),
        (["--metric", "accuracy"], ["there is no metric 'accuracy'", "mlm_loss"]),
        (["--pruner", "hyper"], ["there is no pruner 'hyper'", "hyperband, median, none"]),
        (["--data", "nowhere"], ["nowhere", "electra prepare"]),
        (["--preset", "tinny"], ["there is no preset 'tinny'", "did you mean tiny?"]),
        (["--storage", "oracel://x/y"], ["oracel://x/y needs a driver", "psycopg"]),
        (["--storage", "postgresql+psycopg://me:secret@127.0.0.1:1/x"], ["me:***@", "refused"]),
        (["--study", "../mini"], ["'../mini' is not a plain name", "letters"]),
        (["--storage", "mini.yaml"], ["mini.yaml is not a journal file that can be used"]),
    ],
)
def test_a_wrong_option_is_explained(prepared, tmp_path, capsys, monkeypatch, options, parts):
    monkeypatch.chdir(tmp_path)
    write_preset(tmp_path / "mini.yaml")
    text = refuse(["tune", "--preset", "mini.yaml", "--data", str(prepared), *options], capsys)
    for part in parts:
        assert part in text
    assert "secret" not in text


def test_an_objective_without_a_discriminator_is_refused(prepared, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    usual = {"model__generator_width": 1 / 3}  # no generator is sized where there is none
    write_preset(tmp_path / "mini.yaml", "objective: {name: mlm}\n", **usual)
    text = refuse(["tune", "--preset", "mini.yaml", "--data", str(prepared)], capsys)
    assert "objective.name mlm trains none" in text


def test_data_without_held_out_documents_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_preset(tmp_path / "mini.yaml")
    corpus = write_corpus(tmp_path / "corpus.txt", 100)
    options = ["--vocab-size", "150", "--validation-fraction", "0"]
    succeed(["prepare", str(corpus), "--out", "data/words", *options])
    capsys.readouterr()
    text = refuse(["tune", "--preset", "mini.yaml"], capsys)
    assert "holds no document back" in text
    assert not Path("tune").exists()


@pytest.mark.slow
def test_trials_that_diverge_or_do_not_fit_fail_with_their_reason_and_the_search_goes_on(
    tmp_path, prepared
):
    space = "tune:\n  optim.learning_rate: [2.0e-4, 1.0e+30]\n  model.hidden_size: [32, 65536]\n"
    write_preset(tmp_path / "mini.yaml", space)
    done = run_electra(
        tmp_path, "tune", "--preset=mini.yaml", f"--data={prepared}", "--trials=8", "--pruner=none"
    )
    assert done.returncode == 0, done.stderr
    rows = read_trials(tmp_path / "tune" / "mini")
    assert len(rows) == 8
    assert {row["state"] for row in rows} == {"complete", "failed"}
    for row in rows:
        diverges = float(row["optim.learning_rate"]) > 1
        is_large = float(row["model.hidden_size"]) > 32
        expected = "GB of memory" if is_large else "is not finite" if diverges else ""
        assert (row["reason"] == "") == (expected == "")
        assert expected in row["reason"]
    reasons = " ".join(row["reason"] for row in rows)
    assert "GB of memory" in reasons
    assert "is not finite" in reasons


@pytest.mark.slow
def test_a_preset_that_diverges_ends_the_search(tmp_path, prepared):
    write_preset(tmp_path / "mini.yaml", optim__learning_rate=1e30)
    done = run_electra(tmp_path, "tune", "--preset=mini.yaml", f"--data={prepared}", "--trials=3")
    assert done.returncode == 1
    assert "trial 0, the preset unchanged, failed: the loss or gradient of step" in done.stderr
    assert len(list((tmp_path / "tune" / "mini").glob("trial-*"))) == 1


def test_torchs_own_complaint_about_memory_is_recognised():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**50)
    assert is_out_of_memory(raised.value)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


@pytest.mark.parametrize("num_steps", [1, 5, 12, 90, 137, 899, 900, 901, 3_000, 1_000_003])
def test_a_trial_is_evaluated_at_each_ninth_of_its_steps(num_steps):
    run = trial_config(load_preset("small"), {}, num_steps).run
    evaluated = [*range(run.eval_every, num_steps, run.eval_every), num_steps]
    shares = {round(9 * step / num_steps) for step in evaluated}
    assert shares >= set(range(1, 10)) or num_steps < 9
    assert len(evaluated) <= 18
    assert run.keep_checkpoints == 1
    assert run.save_every == num_steps


@pytest.mark.slow
def test_trials_can_be_ranked_by_the_generators_held_out_loss(
    searched, tmp_path, capsys, monkeypatch
):
    shutil.copytree(searched.folder / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    write_preset(Path("mini.yaml"))
    options = ["--preset", "mini.yaml", "--trials", "3", "--metric", "mlm_loss"]
    succeed(["tune", *options, "--pruner", "median", "--storage", "studies/mini.journal"])
    assert capsys.readouterr().out.strip() == "tune/mini/best.yaml"
    for row in read_trials(Path("tune/mini")):
        log = RunDirectory(Path("tune/mini") / f"trial-{int(row['trial']):04d}").read_log()
        assert float(row["mlm_loss"]) == log["validation_mlm_loss"][-1]
    assert Path("studies/mini.journal").is_file()


# In a browser


@pytest.mark.slow
def test_the_page_shows_optunas_figures_without_network(searched, tmp_path):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    page = searched.root / "study.html"
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", f"--user-data-dir={tmp_path}"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr"]
    command += ["--virtual-time-budget=8000", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    headings = re.findall(r"<h2>([^<]*)</h2>", done.stdout)
    assert headings == [
        "History", "Importance", "Parallel coordinates", "Slice", "Intermediate values"
    ]  # fmt: skip
    assert done.stdout.count('class="main-svg"') >= 5
    assert page.read_text().count("plotly.js v") == 1
    best = searched.study().best_trial
    assert f"Best: trial {best.number}," in done.stdout


@pytest.mark.slow
def test_a_study_records_what_its_trials_have_in_common_but_no_place_of_this_machine(searched):
    identity = searched.study().user_attrs["identity"]
    assert identity["metric"] == "yardstick_rtd_loss"
    assert identity["optim.learning_rate"] == load_preset(str(searched.preset)).optim.learning_rate
    assert "data.directory" not in identity
