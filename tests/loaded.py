"""What commands are forked from (forked.py): all that those which load torch import."""

import gc

from electra_cli.commands import export, finetune, predict, resume, train, tune  # noqa: F401
from electra_cli.plotting import picture  # noqa: F401

gc.freeze()  # no command's collection of garbage walks through it
