"""The heap of a process that trains stays as large as it is after the first steps."""

import ctypes
import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

STEPS = (30, 90)


class MallocFacts(ctypes.Structure):
    """struct mallinfo2 of glibc's malloc.h."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
        " ".split()
    ]


def train_and_print() -> None:
    """In a process of its own: bytes in use and free pieces after two numbers of steps."""
    sys.path.append(str(Path(__file__).parents[1]))
    from conftest import CPU, VOCAB_SIZE, take_steps, tiny_config, tiny_reader

    from electra_cli.data.batches import Position, iter_batches
    from electra_cli.model.objectives.electra import ElectraObjective
    from electra_cli.training.trainer import Trainer

    config = tiny_config(run={"batch_size": 32, "num_steps": STEPS[1]})
    model = ElectraObjective(config.model, config.objective, VOCAB_SIZE, pad_id=0)
    trainer = Trainer(model, config, CPU)
    read_facts = ctypes.CDLL(None).mallinfo2
    read_facts.restype = MallocFacts
    stream = iter_batches(tiny_reader(config), config.run.batch_size, Position())
    found = []
    for step in take_steps(trainer, (batch for batch, _ in stream), until=STEPS[1]):
        trainer.flush(0.0)
        if step in STEPS:
            facts = read_facts()
            found.append((facts.uordblks, facts.ordblks))
    print(json.dumps(found))


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="is about glibc's malloc")
def test_steps_of_ever_different_lengths_leave_nothing_in_the_heap():
    done = subprocess.run([sys.executable, __file__], check=True, capture_output=True, text=True)
    (bytes_before, pieces_before), (bytes_after, pieces_after) = json.loads(done.stdout)
    assert bytes_after - bytes_before < 2**20
    assert pieces_after - pieces_before < 500


if __name__ == "__main__":
    train_and_print()
