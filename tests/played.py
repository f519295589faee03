"""Processes of a run that are threads of this one, and share what they say without a network."""

import threading
from collections.abc import Callable
from typing import Any

import torch

from electra_cli.training.place import Place
from electra_cli.training.processes import Processes


class Meeting:
    """Where threads that play processes exchange what they say; one of them computes at a time."""

    def __init__(self, count: int) -> None:
        self.turn = threading.Lock()
        self.barrier = threading.Barrier(count)
        self.said: list[Any] = [None] * count

    def exchange(self, rank: int, value: Any) -> list[Any]:
        self.said[rank] = value
        self.turn.release()
        self.barrier.wait()
        everything = list(self.said)
        self.barrier.wait()
        self.turn.acquire()
        return everything


class Played(Processes):
    """A process that is a thread."""

    wants_stop = False

    def __init__(self, rank: int, count: int, meeting: Meeting) -> None:
        super().__init__(Place(rank, count, rank, count))
        self._meeting = meeting
        self.num_reductions = 0

    def exchange(self, value: Any) -> list[Any]:
        return [value] if self.is_alone else self._meeting.exchange(self.rank, value)

    def add_up(self, flat: torch.Tensor) -> None:
        self.num_reductions += 1
        first, *others = self._meeting.exchange(self.rank, flat.clone())
        flat.copy_(sum(others, start=first))

    def gather_rows(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.cat(self.exchange(rows))


def play(count: int, work: Callable[[Played], Any]) -> list[Any]:
    """What `work` returns in each of so many processes."""
    meeting, results = Meeting(count), [None] * count

    def run(rank: int) -> None:
        with meeting.turn:
            try:
                results[rank] = work(Played(rank, count, meeting))
            except BaseException as error:
                results[rank] = error
                meeting.barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    failed = [r for r in results if isinstance(r, BaseException)]
    for result in failed:
        if not isinstance(result, threading.BrokenBarrierError):
            raise result
    return results
