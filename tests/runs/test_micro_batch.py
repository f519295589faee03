import math

import pytest
import torch
from conftest import CPU, tiny_config

from electra_cli.errors import RunError
from electra_cli.runs.micro_batch import estimate_bytes, fit_micro_batch, largest_micro_batch
from electra_cli.training.device import Compute


@pytest.mark.parametrize("batch_size", [1, 12, 97, 360, 1024])
@pytest.mark.parametrize("fitting", [1, 3, 40, 10_000])
def test_it_is_the_largest_divisor_that_fits(batch_size, fitting):
    config = tiny_config(run={"batch_size": batch_size})
    limit = estimate_bytes(config, 1_000, fitting, CPU)
    found = largest_micro_batch(config, 1_000, limit, CPU)
    # Beyond 8,192 tokens products on a CPU run no faster: 256 windows of 32.
    divisors = [n for n in range(1, batch_size + 1) if batch_size % n == 0]
    assert found == max(n for n in divisors if n == 1 or n <= min(fitting, 256))


def memory(monkeypatch: pytest.MonkeyPatch, num_bytes: int) -> None:
    monkeypatch.setattr(Compute, "memory_bytes", lambda self: num_bytes)


def test_what_was_chosen_is_kept_and_what_was_not_is_resolved(monkeypatch):
    memory(monkeypatch, 2**40)
    assert fit_micro_batch(tiny_config(), 1_000, CPU).run.micro_batch_size == 8
    chosen = tiny_config(run={"micro_batch_size": 2})
    assert fit_micro_batch(chosen, 1_000, CPU) == chosen


def test_a_tenth_of_memory_and_the_copy_for_checkpoints_stay_free(monkeypatch):
    config = tiny_config(run={"micro_batch_size": 8})
    needed = estimate_bytes(config, 1_000_000, 8, CPU)
    memory(monkeypatch, int((needed + 12_000_000) / 0.9) + 2)
    fit_micro_batch(config, 1_000_000, CPU)
    memory(monkeypatch, int((needed + 12_000_000) / 0.9) - 1_000)
    with pytest.raises(RunError, match="8 windows per forward pass") as raised:
        fit_micro_batch(config, 1_000_000, CPU)
    assert "gradient_checkpointing" in raised.value.hint


def test_a_checkpoints_copy_takes_nothing_of_a_gpu(monkeypatch):
    gpu = Compute(torch.device("cuda"), "bf16", has_flash=True)
    config = tiny_config(run={"micro_batch_size": 8})
    needed = estimate_bytes(config, 1_000_000, 8, gpu)
    memory(monkeypatch, math.ceil(needed / 0.9))
    fit_micro_batch(config, 1_000_000, gpu)
    memory(monkeypatch, math.floor(needed / 0.9) - 1)
    with pytest.raises(RunError, match="cuda has"):
        fit_micro_batch(config, 1_000_000, gpu)
