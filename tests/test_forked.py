"""Commands of the tests are forked, which is most of what makes them quick."""

import pytest
from command_line import electra_environment, run_electra
from forked import can_fork


@pytest.mark.parametrize("turn", [1, 2])
def test_commands_are_forked_after_one_in_this_process(electra, turn):
    """It sets variables before it loads torch, and the next test has them no more."""
    assert can_fork(electra_environment())
    assert electra("train", "--preset", "tiny", "--data", "nowhere").returncode == 1


def test_variables_that_are_read_late_may_differ(monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", "elsewhere")
    assert can_fork(electra_environment())
    monkeypatch.setenv("LD_PRELOAD", "clock.so")
    assert not can_fork(electra_environment())


def test_output_and_exit_code_are_the_commands(tmp_path):
    done = run_electra(tmp_path, "resume", "nowhere")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: nowhere is not a run")
