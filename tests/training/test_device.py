"""What malloc does with freed memory; devices and precisions are tested with the commands."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import sys
import torch
from electra_cli.training.device import keep_freed_memory

def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

if sys.argv[1] == "keep":
    keep_freed_memory()
tensors = [torch.ones(5_000_000) for _ in range(10)]
with_tensors = resident()
del tensors
print(with_tensors - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="is about glibc's malloc")
@pytest.mark.parametrize(("choice", "is_kept"), [("keep", True), ("leave", False)])
def test_freed_memory_is_kept_for_the_next_step(choice, is_kept):
    command = [sys.executable, "-c", PROGRAM, choice]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    given_back = int(done.stdout)
    assert (given_back < 20e6) if is_kept else (given_back > 150e6)
