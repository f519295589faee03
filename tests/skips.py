"""Under CI a skipped test is a failed one, so that a missing tool is not passed over.

conftest.py takes this hook in.
"""

import os
from collections.abc import Generator

import pytest

# Reasons that no installation changes; all others name a tool that CI has to install.
RIGHT = (
    "root may read everything",
    "is about glibc's malloc",
    "needs a GPU",
    "needs the right to make a cgroup of version 1",
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple) and "CI" in os.environ:
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if reason not in RIGHT:
            report.outcome = "failed"
            report.longrepr = f"skipped under CI, see tests/skips.py: {reason}"
    return report
