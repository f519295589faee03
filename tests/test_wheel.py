"""The wheel works where nothing of the repository is: presets and requirements are inside."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_the_wheel_installs_into_an_empty_environment_and_plans_a_large_run(tmp_path):
    run(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, ROOT, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    run(sys.executable, "-m", "venv", tmp_path / "empty", cwd=tmp_path)
    binaries = tmp_path / "empty" / "bin"
    run(binaries / "pip", "install", "--quiet", wheel, cwd=tmp_path)
    where = run(
        binaries / "python", "-c", "import electra_cli; print(electra_cli.__file__)", cwd=tmp_path
    )
    assert Path(where.strip()).is_relative_to(tmp_path)
    plan = run(binaries / "electra", "train", "--preset", "large", "--dry-run", cwd=tmp_path)
    assert "335.14M parameters" in plan
    assert "400,000" in plan
