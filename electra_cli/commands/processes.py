"""The processes of a command, of which the first one speaks."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from electra_cli import console
from electra_cli.training.place import read_place
from electra_cli.training.processes import AgreedStop, Processes


@contextmanager
def meet_processes() -> Iterator[Processes]:
    """This process among the others of its run, where a launcher says that there are some."""
    place = read_place()
    speech = nullcontext() if place.rank == 0 else console.silent()
    with speech, Processes(place, console.error) as processes:
        try:
            yield processes
        except AgreedStop:
            console.talk("stopped before the first step")
            raise
