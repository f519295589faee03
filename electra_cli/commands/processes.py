"""The processes of a command, of which the first one speaks."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

from electra_cli import console
from electra_cli.training.meeting import LIMIT_SECONDS, meeting_place
from electra_cli.training.place import read_place
from electra_cli.training.processes import AgreedStop, Processes


@contextmanager
def meet_processes() -> Iterator[Processes]:
    """This process among the others of its run, where a launcher says that there are some."""
    place = read_place()
    speech = nullcontext() if place.rank == 0 else console.silent()
    with speech, ExitStack() as stack:
        processes = Processes(place, console.error)
        with nullcontext() if processes.is_alone else _announce_meeting(place.count):
            stack.enter_context(processes)
        try:
            yield processes
        except AgreedStop:
            console.talk("stopped before the first step")
            raise


def _announce_meeting(count: int) -> AbstractContextManager[None]:
    return console.announce_wait(
        f"waiting until all {count} processes are at {meeting_place()}, for "
        f"{console.format_duration(LIMIT_SECONDS)} at most"
    )
