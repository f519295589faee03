import subprocess
import sys

CHILD = """
import atexit, time
from electra_cli import cli
from electra_cli.stopping import interruptible
from electra_cli.waiting import wait_for

def command(args):
    with interruptible() as interruption:
        print("waiting")
        interruption.reason = "SIGINT"
        wait_for(lambda: time.sleep(SECONDS), interruption)

atexit.register(print, "taken apart")
cli.app = command
cli.main([])
"""


def ended(seconds: float) -> tuple[int, str]:
    """Exit code and output of a process that is asked to stop while it waits."""
    code = CHILD.replace("SECONDS", str(seconds))
    child = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=30
    )
    assert child.stderr == ""
    return child.returncode, child.stdout


def test_the_interpreter_is_not_taken_apart_under_a_library_that_still_computes():
    assert ended(3_600) == (130, "waiting\n")


def test_work_that_ended_meanwhile_is_no_reason_to_hurry():
    assert ended(0) == (0, "waiting\ntaken apart\n")
