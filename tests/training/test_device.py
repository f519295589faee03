"""Devices, precisions, memory and random numbers, of GPUs by pretended answers of torch."""

import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import tiny_config

from electra_cli.errors import RunError
from electra_cli.training.device import (
    Compute,
    fix_order,
    seed_dropout,
    select_compute,
    select_device,
    select_precision,
    set_float32_products,
)

PROGRAM = """
import sys
from pathlib import Path
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


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="is about glibc's malloc")
@pytest.mark.parametrize(("choice", "is_kept"), [("keep", True), ("leave", False)])
def test_freed_memory_is_kept_for_the_next_step(choice, is_kept):
    command = [sys.executable, "-c", PROGRAM, choice]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    given_back = int(done.stdout)
    assert (given_back < 20e6) if is_kept else (given_back > 150e6)


def pretend(monkeypatch, has_cuda: bool, has_mps: bool = False, has_bf16: bool = True) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: has_mps)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation or has_bf16
    )


@pytest.mark.parametrize(
    ("has_cuda", "has_mps", "device"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_takes_a_gpu_where_there_is_one(monkeypatch, has_cuda, has_mps, device):
    pretend(monkeypatch, has_cuda, has_mps)
    assert select_device("auto") == torch.device(device)


def test_a_device_that_is_not_there_is_named_with_its_reason():
    with pytest.raises(RunError, match=r"there is no device 'cuda:7': [^\n]+$"):
        select_device("cuda:7")
    assert select_device("cpu") == torch.device("cpu")


def test_a_config_chooses_all_of_it():
    config = tiny_config(run={"device": "cpu", "precision": "bf16"})
    assert select_compute(config) == Compute(torch.device("cpu"), "bf16", has_flash=False)


def test_a_gpu_is_asked_for_a_fixed_order(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        for device, is_fixed in (("cpu", False), ("cuda", True)):
            fix_order(torch.device(device), True)
            assert torch.are_deterministic_algorithms_enabled() == is_fixed
            assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == (":4096:8" if is_fixed else None)
    finally:
        fix_order(torch.device("cuda"), False)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    ("device", "requested", "has_bf16", "chosen"),
    [
        ("cuda", "auto", True, "bf16"),
        ("cuda", "auto", False, "fp16"),
        ("cuda", "bf16", True, "bf16"),
        ("cuda", "bf16", False, None),
        ("cuda", "fp16", False, "fp16"),
        ("cuda", "fp32", False, "fp32"),
        ("mps", "auto", False, "fp32"),
        ("mps", "fp16", False, None),
        ("cpu", "bf16", False, "bf16"),
        ("cpu", "fp32", True, "fp32"),
        ("cpu", "fp16", True, None),
    ],
)
def test_a_precision_is_what_the_device_has(monkeypatch, device, requested, has_bf16, chosen):
    pretend(monkeypatch, has_cuda=True, has_bf16=has_bf16)
    if chosen is None:
        with pytest.raises(RunError, match=f"{device} does not train in {requested}"):
            select_precision(requested, torch.device(device))
    else:
        assert select_precision(requested, torch.device(device)) == chosen


@pytest.mark.parametrize(("has_matrix_units", "chosen"), [(True, "bf16"), (False, "fp32")])
def test_auto_takes_bf16_on_a_cpu_with_matrix_units_for_it(monkeypatch, has_matrix_units, chosen):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_tile": has_matrix_units})
    assert select_precision("auto", torch.device("cpu")) == chosen


def test_memory_is_what_is_installed_or_what_is_free_on_a_gpu(monkeypatch):
    most = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)  # tests/mutate.py sets one
    if soft != resource.RLIM_INFINITY:
        most = min(most, soft)
    assert Compute(torch.device("cpu"), "fp32", False).memory_bytes() == most
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5, 9))
    assert Compute(torch.device("cuda"), "bf16", True).memory_bytes() == 5


def test_dropout_is_seeded_on_the_device_that_draws_it(monkeypatch):
    cuda, mps = torch.Generator(), []
    monkeypatch.setattr(torch.cuda, "default_generators", [None, cuda])
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    torch.manual_seed(3)
    monkeypatch.setattr(torch.mps, "manual_seed", mps.append)
    host = torch.get_rng_state()
    for number, name in enumerate(["cuda", "cuda:1"]):
        seed_dropout(torch.device(name), 2**64 - 1 - number)
        assert cuda.initial_seed() % 2**64 == 2**64 - 1 - number
    seed_dropout(torch.device("mps"), 2**63)
    assert mps == [2**63]
    assert torch.equal(torch.get_rng_state(), host)
    seed_dropout(torch.device("cpu"), 3)
    assert torch.equal(torch.get_rng_state(), host)


@pytest.mark.parametrize(
    ("precision", "is_tf32"), [("bf16", True), ("fp16", True), ("fp32", False)]
)
def test_every_setting_of_float32_products_tells_the_same(precision, is_tf32):
    """torch.compile's max-autotune reads the older ones, which raise where they disagree."""
    try:
        set_float32_products(Compute(torch.device("cuda"), precision, has_flash=True))
        assert torch.get_float32_matmul_precision() == ("high" if is_tf32 else "highest")
        assert torch.backends.cuda.matmul.allow_tf32 == is_tf32
        assert torch.backends.cuda.matmul.fp32_precision == ("tf32" if is_tf32 else "ieee")
        assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"
    finally:
        torch.set_float32_matmul_precision("highest")
