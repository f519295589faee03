"""Loaded by Python itself where a test puts this folder on its path: training steps take longer.

For tests that must act while a run trains: a tiny run ends within a tenth of a second.
"""

import time

from electra_cli.training.trainer import Trainer

_step = Trainer.train_step


def _slow_step(self, batches):
    time.sleep(0.1)
    _step(self, batches)


Trainer.train_step = _slow_step
