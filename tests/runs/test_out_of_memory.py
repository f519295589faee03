import errno

import pytest
import torch

from electra_cli.errors import RunError
from electra_cli.runs.out_of_memory import describe_out_of_memory, hint_at_less_memory

# Of torch 2.11 on an H200.
CUDA = (
    "CUDA out of memory. Tried to allocate 24.00 MiB. GPU 0 has a total capacity of 139.80 GiB of "
    "which 138.90 GiB is free. Including non-PyTorch memory, this process has 916.00 MiB memory in "
    "use. 0 bytes allowed; Of the allocated memory 152.81 MiB is allocated by PyTorch."
)


def test_a_gpu_without_memory_is_told_in_a_line_that_can_be_read():
    assert describe_out_of_memory(torch.OutOfMemoryError(CUDA)) == (
        "CUDA out of memory. Tried to allocate 24.00 MiB. GPU 0 has a total capacity of "
        "139.80 GiB of which 138.90 GiB is free."
    )


def test_other_errors_stay_what_they_are():
    for error in (OSError(errno.ENOENT, "gone"), RuntimeError("shapes differ")):
        with (
            pytest.raises(type(error), match=r"gone|shapes") as raised,
            hint_at_less_memory(8, "a smaller one"),
        ):
            raise error
        assert raised.value is error
    with pytest.raises(RunError, match="8 windows"), hint_at_less_memory(8, "a smaller one"):
        raise MemoryError


def test_what_says_nothing_is_told_by_its_name():
    assert describe_out_of_memory(MemoryError()) == "out of memory: MemoryError"
