"""A missing tool skips a test on a laptop, and fails it under CI."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

@pytest.mark.skipif(True, reason="needs unshare")
def test_marked(): pass

@pytest.fixture
def tool(): pytest.skip("chromium is not installed")

def test_called(tool): pass

@pytest.mark.skipif(True, reason="root may read everything")
def test_right(): pass

@pytest.mark.xfail
def test_known(): raise ValueError
"""


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({}, "3 skipped, 1 xfailed in"), ({"CI": "true"}, "1 skipped, 1 xfailed, 2 errors in")],
)
def test_a_skip_is_an_error_under_ci_unless_it_is_named(tmp_path, variables, expected):
    (tmp_path / "test_tools.py").write_text(TESTS)
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    environment |= {"PYTHONPATH": str(Path(__file__).parent), **variables}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "skips", "-p", "no:cacheprovider"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert expected in done.stdout
    assert ("skipped under CI, see tests/skips.py: needs unshare" in done.stdout) == bool(variables)
