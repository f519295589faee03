"""Make the next batches in a thread, while a step computes."""

import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

from electra_cli.data.batches import Position

PREFETCHED_BATCHES = 4

Item = TypeVar("Item")


class Prefetcher(Generic[Item]):
    """Batches that a thread makes ahead. An error there is raised in the thread that reads them."""

    def __init__(self, batches: Iterator[tuple[Item, Position]]) -> None:
        self._queue: queue.Queue[tuple[Item, Position] | BaseException] = queue.Queue(
            PREFETCHED_BATCHES
        )
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._fill, args=(batches,), daemon=True)
        self._thread.start()

    def _fill(self, batches: Iterator[tuple[Item, Position]]) -> None:
        try:
            for item in batches:
                self._put(item)
                if self._stopped.is_set():
                    return
        except BaseException as error:
            self._put(error)

    def _put(self, item: tuple[Item, Position] | BaseException) -> None:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def __iter__(self) -> Iterator[tuple[Item, Position]]:
        return self

    def __next__(self) -> tuple[Item, Position]:
        item = self._queue.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        """Stop the thread."""
        self._stopped.set()
        self._thread.join()
