"""The losses of 6 tiny steps of the whole program, recorded: data, dropout, sampling, update.

What changes them by intent is recorded anew: python tests/training/test_golden_tiny.py
"""

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import CPU, VOCAB_SIZE, take_steps, tiny_config, tiny_reader

from electra_cli.data.batches import Position, iter_batches
from electra_cli.metrics import log_row
from electra_cli.model.objectives.electra import ElectraObjective
from electra_cli.training.trainer import Trainer

GOLDEN = Path(__file__).parents[1] / "golden" / "tiny_steps.json"
NAMES = ("loss", "mlm_loss", "rtd_loss", "replaced_fraction", "grad_norm", "learning_rate")


def record() -> list[dict[str, float]]:
    config = tiny_config()
    torch.manual_seed(config.run.seed)
    model = ElectraObjective(config.model, config.objective, VOCAB_SIZE, pad_id=0)
    trainer = Trainer(model, config, CPU)
    stream = iter_batches(tiny_reader(config), config.run.batch_size, Position())
    rows = []
    for _ in take_steps(trainer, (batch for batch, _ in stream), until=6):
        metrics = trainer.flush(epoch=0.0)
        row = log_row(metrics, None)
        rows.append({name: row[name] for name in NAMES})
    return rows


def test_six_steps_give_the_recorded_losses():
    expected = json.loads(GOLDEN.read_text())
    found = record()
    assert len(found) == len(expected) == 6
    for row, wanted in zip(found, expected, strict=True):
        # Another CPU adds up in another order; anything else is a change of the program.
        assert row == pytest.approx(wanted, rel=1e-5)


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(record(), indent=1) + "\n")
