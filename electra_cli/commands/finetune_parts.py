"""`--processes N` of a fine-tune: children that train some of its jobs, a device each."""

import os

import torch

from electra_cli.commands.children import end_children, start_child, wait_for_end
from electra_cli.finetuning.loop import finetune_to_end
from electra_cli.finetuning.session import FinetuneSession
from electra_cli.stopping import stop_request

_PART = "ELECTRA_PART"  # in the environment of a child: which of how many


def part_of_this_process() -> tuple[int, int] | None:
    """(which, of how many) for a child of a fine-tune; None for any other process."""
    if _PART not in os.environ:
        return None
    number, count = map(int, os.environ[_PART].split("/"))
    return number, count


def train_beside(session: FinetuneSession, count: int) -> None:
    """Share the trainings that are left with `count` - 1 children, a device each.

    What a child leaves undone, this process does afterwards.
    """
    if count == 1:
        return
    if session.compute.is_on_cpu:  # until the end: what is left is computed as the children do
        torch.set_num_threads(max(1, torch.get_num_threads() // count))
    command = ["resume", str(session.root.root)]
    children = [
        start_child(number, count, command, **{_PART: f"{number}/{count}"})
        for number in range(1, count)
    ]
    try:
        finetune_to_end(session, (0, count))
        with stop_request() as stop:
            wait_for_end(children, stop)
    finally:
        end_children(children)
