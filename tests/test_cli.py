"""The command line itself: help, versions, and what it must not load."""

import re
import subprocess
import sys

import pytest
from command_line import run_electra

COMMANDS = ["prepare", "train", "resume", "tune", "plot", "finetune", "predict", "export"]


def test_help_lists_every_command(tmp_path):
    done = run_electra(tmp_path, "--help")
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_has_examples_with_options_that_exist(tmp_path, name):
    done = run_electra(tmp_path, name, "--help")
    assert done.returncode == 0
    usage, separator, rest = done.stdout.partition("Examples:")
    assert separator
    lines = [line.split() for line in rest.splitlines()]
    examples = [words for words in lines if words[:2] == ["electra", name]]
    assert len(examples) >= 2
    assert any(len(words) > 2 for words in examples)
    documented = set(re.findall(r"--[a-z-]+", usage + rest.partition("Options:")[2]))
    used = {word for words in examples for word in words if word.startswith("--")}
    assert used
    assert used <= documented


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["train", "--help"], ["tune", "--help"], ["finetune", "--help"], ["--version"]],
)
def test_help_loads_neither_torch_nor_other_heavy_packages(arguments):
    heavy = ["torch", "transformers", "datasets", "optuna", "plotly", "numpy"]
    program = f"""
import sys
from electra_cli.cli import main
try:
    main({arguments!r})
finally:
    print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stderr.strip().splitlines()[-1] == "[]"


def test_the_version_is_the_packages(tmp_path):
    from importlib.metadata import version

    done = run_electra(tmp_path, "--version")
    assert done.stdout.strip() == f"electra {version('electra-cli')}"


def test_an_unknown_command_is_wrong_usage(tmp_path):
    assert run_electra(tmp_path, "trane").returncode == 2


def test_the_package_runs_as_a_module(tmp_path):
    command = [sys.executable, "-m", "electra_cli", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout.startswith("electra ")


def test_windows_is_refused_in_one_line():
    program = "import sys; sys.platform = 'win32'; import electra_cli.cli"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "electra runs on Linux and macOS; on Windows, install it in WSL\n"
