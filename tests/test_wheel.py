"""The wheel works where nothing of the repository is: presets and requirements are inside."""

import ast
import os
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from command_line import write_corpus
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def declared(*lists: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(each).name) for some in lists for each in some}


def imported_modules() -> set[str]:
    """Top-level modules that the package imports and neither it nor Python has."""
    names = set()
    for path in (ROOT / "electra_cli").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(str(node.module).partition(".")[0])
    return names - sys.stdlib_module_names - {"electra_cli", "compression"}  # of Python 3.14


def test_everything_imported_is_declared():
    modules, distributions = imported_modules(), packages_distributions()
    assert {"torch", "yaml", "numpy"} <= modules
    imported = {canonicalize_name(distributions[module][0]) for module in modules}
    extras = [each for name, each in PROJECT["optional-dependencies"].items() if name != "dev"]
    assert imported - declared(PROJECT["dependencies"], *extras) == set()


def test_torch_is_bounded_by_the_constraints_of_the_tests_alone():
    (torch,) = (each for each in PROJECT["dependencies"] if Requirement(each).name == "torch")
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    constraints = [Requirement(line) for line in lines if not line.startswith("#")]
    (pinned,) = (str(each.specifier) for each in constraints if each.name == "torch")
    assert pinned.startswith("==")
    assert Requirement(torch).specifier.contains(pinned.removeprefix("=="))
    assert Requirement(torch).specifier.contains("3.0")


def run(*command: object, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow(seconds=60)
def test_the_wheel_installs_into_an_empty_environment_and_does_everything_there(tmp_path):
    run(sys.executable, "-m", "build", "--outdir", tmp_path, ROOT, cwd=tmp_path)
    assert len(list(tmp_path.glob("*.tar.gz"))) == 1  # the wheel was built from what is in it
    (wheel,) = tmp_path.glob("*.whl")
    run(sys.executable, "-m", "venv", tmp_path / "empty", cwd=tmp_path)
    binaries = tmp_path / "empty" / "bin"
    options = ["--quiet", "--no-compile", "--constraint", ROOT / "constraints.txt"]
    run(binaries / "pip", "install", *options, wheel, cwd=tmp_path)
    where = run(
        binaries / "python", "-c", "import electra_cli; print(electra_cli.__file__)", cwd=tmp_path
    )
    assert Path(where.strip()).is_relative_to(tmp_path)
    corpus = write_corpus(tmp_path / "corpus.txt", 300)
    electra = binaries / "electra"
    assert "prepare" in run(electra, "--help", cwd=tmp_path)
    run(electra, "prepare", corpus, "--vocab-size", 150, cwd=tmp_path)
    steps = ("--steps", 3, "--set", "optim.num_warmup_steps=1")
    run(electra, "train", "--preset", "tiny", "--run-name", "one", *steps, cwd=tmp_path)
    assert "runs/one/loss_curve.html" in run(electra, "plot", "runs/one", cwd=tmp_path)
