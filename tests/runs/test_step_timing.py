"""The time in the plan: measured on steps of the run itself."""

import time

import pytest
import torch
from conftest import CPU, VOCAB_SIZE, tiny_config

from electra_cli.data.batches import Position, iter_batches
from electra_cli.data.prepared import open_data
from electra_cli.runs.session import build_model
from electra_cli.runs.step_timing import measure_flops_per_second
from electra_cli.training.trainer import Trainer


@pytest.fixture
def processor_time(monkeypatch) -> None:
    """Clocks that stand still while other processes have the processor."""
    monkeypatch.setattr(time, "perf_counter", time.process_time)


@pytest.mark.slow
def test_steps_are_as_fast_as_measured(processor_time, prepared):
    batch_size = 64
    run = {"batch_size": batch_size, "num_steps": 40}
    config, data = tiny_config(run=run), open_data(prepared)
    vocab_size = data.manifest.vocab_size
    rate = measure_flops_per_second(config, vocab_size, data, CPU)
    trainer = Trainer(build_model(config, vocab_size, data.pad_id), config, CPU)
    batches = iter_batches(data.reader("train", config), batch_size, Position())
    source = (batch for batch, _ in batches)
    for _ in range(5):
        trainer.train_step(source)
    before = trainer.flush(0.0).train_flops
    began = time.perf_counter()
    while trainer.step < config.run.num_steps:
        trainer.train_step(source)
    seconds = time.perf_counter() - began
    true_rate = (trainer.flush(0.0).train_flops - before) / seconds
    assert rate == pytest.approx(true_rate, rel=0.4)  # other processes use the same cache


def test_measuring_changes_nothing_of_the_run_that_follows():
    config = tiny_config()

    def first_weights() -> torch.Tensor:
        return next(build_model(config, VOCAB_SIZE, 0).parameters()).detach().clone()

    expected = first_weights()
    random_state = torch.get_rng_state()
    assert measure_flops_per_second(config, VOCAB_SIZE, None, CPU) > 0
    assert torch.equal(first_weights(), expected)
    assert torch.equal(torch.get_rng_state(), random_state)


def test_rates_that_destroy_the_weights_do_not_disturb_the_measurement():
    config = tiny_config(optim={"learning_rate": 1e30, "num_warmup_steps": 0})
    assert measure_flops_per_second(config, VOCAB_SIZE, None, CPU) > 0
