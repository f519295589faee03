"""What `make gpu` asks of a GPU: as tests there, and every line of it once on a CPU."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import right, several
from benchmarks.gpu.learning import _settings
from benchmarks.gpu.machine import Machine, Results
from electra_cli.presets import load_preset


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("check", [*right.CHECKS.values(), *several.CHECKS.values()])
def test_what_a_gpu_computes_is_right(check):
    check(Machine(torch.device("cuda"), is_tiny=False))


@pytest.mark.slow(seconds=50)
def test_every_line_runs_on_a_cpu(tmp_path):
    command = [
        sys.executable,
        "-m",
        "benchmarks.gpu",
        "--device",
        "cpu",
        "--tiny",
        "--minutes",
        "60",
    ]
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [*command, "--out", tmp_path], cwd=root, capture_output=True, text=True, check=False
    )
    results = Results(tmp_path / "results.jsonl").all()
    failed = [each for each in results if each["state"] != "ok"]
    assert done.returncode == 0, failed or done.stderr
    parts = [each["part"] for each in results]
    assert list(dict.fromkeys(parts)) == ["machine", "right", "several", "fast, small", "learning"]
    assert parts.count("right") == len(right.CHECKS)
    assert parts.count("several") == len(several.CHECKS)
    assert "| right | attention | ok |" in (tmp_path / "results.md").read_text()


def test_the_run_that_learns_takes_the_fastest_way_that_was_measured(tmp_path):
    results = Results(tmp_path / "results.jsonl")
    measured = {"eager, dropout 0.1": 2e5, "graphs, dropout 0.1": 8e5, "graphs, dropout 0": 9e5}
    for name, rate in measured.items():
        results.take("fast, small", name, lambda rate=rate: {"tokens/s": rate})
    results.take("fast, small", "eager, dropout 0.1, by kernel class", lambda: {"idle, ms": 3.0})
    settings = _settings(Machine(torch.device("cuda"), False), results, time.time() + 125)
    config = load_preset("small", assignments=[f"{k}={v}" for k, v in settings.items()])
    assert config.run.cuda_graphs and not config.run.compile
    assert config.run.num_steps == 2200  # 0.7 of 65 s at 49 steps per second


def test_a_part_that_fails_is_told_and_the_next_one_runs(tmp_path, capsys):
    def fail() -> dict[str, float | str]:
        raise AssertionError("attention is off by 0.5\nand more")

    results = Results(tmp_path / "results.jsonl")
    results.take("right", "attention", fail)
    results.take("right", "resume", lambda: {"fp32": "bit for bit"})
    shown = capsys.readouterr().out.splitlines()
    assert "FAILED attention: error AssertionError: attention is off by 0.5 (" in shown[0]
    assert "resume: fp32 bit for bit" in shown[1]
    assert [each["state"] for each in results.all()] == ["failed", "ok"]
    assert "Traceback" in results.all()[0]["traceback"]
