"""The processes that train one run together, and all that they say to each other.

Each has the whole model and computes its share of a step; one reduction per step makes gradients,
sums and flags equal, and with them all that follows. What they say is JSON and tensors. gloo
carries it between hosts, NCCL the reduction between CUDA GPUs. One process alone never imports
torch.distributed.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

import torch
from torch import Tensor

from electra_cli.errors import RunError, UserError
from electra_cli.stopping import stop_request, wait_for
from electra_cli.training.meeting import HINT, LIMIT_SECONDS, meet_others, meeting_place
from electra_cli.training.place import ALONE_PLACE, Place
from electra_cli.training.watch import Watch

Result = TypeVar("Result")


class AgreedError(UserError):
    """A UserError of any process, which all of them know of; the first one tells it."""


class AgreedStop(KeyboardInterrupt):
    """All processes stop, because one of them was asked to."""


class Processes:
    """This process, and the others of its run; alone where no launcher says otherwise."""

    def __init__(
        self, place: Place = ALONE_PLACE, tell: Callable[[str, str], None] | None = None
    ) -> None:
        """`tell` shows a problem and a hint to the user."""
        self.rank, self.count = place.rank, place.count
        self.local_rank, self.local_count = place.local_rank, place.local_count
        self.devices: list[str] = []  # by rank, once they are chosen
        self.watch = Watch(place, tell)
        self._place = place
        self._device_group: Any = None

    @property
    def is_alone(self) -> bool:
        """Whether this process is the only one."""
        return self.count == 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    @property
    def hosts(self) -> list[str]:
        """Names of the machines, by rank."""
        return self.watch.hosts

    @property
    def num_machines(self) -> int:
        """Machines that the processes run on, by their names."""
        return len(set(self.hosts))

    @property
    def wants_stop(self) -> bool:
        """Whether this process was asked to stop."""
        return self._stop.is_requested

    def name(self, rank: int) -> str:
        """A process in words."""
        return self.watch.name(rank)

    def __enter__(self) -> Self:
        """Meet the others. Raises KeyboardInterrupt if a stop is asked for before all are there."""
        if self.is_alone:
            return self
        import torch.distributed as dist

        self._dist: Any = dist
        with stop_request() as stop:
            self._stop = stop
            try:
                store = wait_for(lambda: meet_others(self._place), stop, 1.1 * LIMIT_SECONDS)
            except TimeoutError:
                raise RunError(f"what listens at {meeting_place()} does not answer", HINT) from None
        self.watch.begin(store, stop)
        self.watch.hosts = self.gather(platform.node)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave together, the first process not before it has done everything.

        A process with an error of its own leaves at once and names itself; the others follow.
        """
        if self.is_alone:
            return
        is_failed = not (error is None or isinstance(error, KeyboardInterrupt))
        if not is_failed:
            self.meet()
        self.watch.end(is_failed)
        self._dist.destroy_process_group()
        if isinstance(error, UserError) and not self.is_first:
            error.args = (f"{self.name(self.rank)}: {error}",)

    def use(self, device: torch.device) -> None:
        """Say where the tensors are that add_up gets."""
        is_gpu = device.type == "cuda"
        name = torch.cuda.get_device_name(device) if is_gpu else str(device)
        self.devices = self.gather(lambda: name)
        if is_gpu and not self.is_alone:
            # NVLS adds up in another order from call to call (NVIDIA/nccl issue 1497).
            os.environ.setdefault("NCCL_NVLS_ENABLE", "0")
            self._device_group = self._dist.new_group(backend="nccl")

    def release(self) -> None:
        """No more add_up on GPUs: a save or an export may take long, and a peer may be killed."""
        if self._device_group is not None:
            self._dist.destroy_process_group(self._device_group)
            self._device_group = None

    def from_first(self, work: Callable[[], Result]) -> Result:
        """What `work` returns in the first process, a JSON value; it runs in no other."""
        found = self.gather(lambda: work() if self.is_first else None)[0]
        return found  # type: ignore[return-value]

    def gather(self, work: Callable[[], Result]) -> list[Result]:
        """What `work` returns in each process, by rank: JSON values.

        A UserError of one is raised by the first process, and all leave; a stop that was asked of
        one is KeyboardInterrupt in all. `work` may itself gather: an error then reaches the others
        where they are.
        """
        if self.is_alone:
            return [work()]
        said: dict[str, Any] = {}
        try:
            said["result"] = work()
        except (AgreedError, AgreedStop):
            raise
        except UserError as error:
            said["problem"], said["hint"] = str(error), error.hint
        except KeyboardInterrupt:
            pass
        said["stop"] = self.wants_stop
        messages = self.exchange(said)
        if any("problem" in each for each in messages):
            self._raise_problem(messages)
        if any(each["stop"] for each in messages):
            raise AgreedStop
        return [each["result"] for each in messages]

    def exchange(self, value: Result) -> list[Result]:
        """A JSON value of each process, by rank."""
        if self.is_alone:
            return [value]
        content = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        return [json.loads(bytes(each.tolist())) for each in self._gather(content)]

    def together(self, work: Callable[[], Result]) -> Result:
        """What `work` returns here, once it is done everywhere; its errors are those of gather."""
        own: list[Result] = []
        self.gather(lambda: own.append(work()))
        return own[0]

    def leave_to_first(self) -> None:
        """End every process but the first, which tells the error that all of them have."""
        if not self.is_first:
            self.watch.leave()

    def _raise_problem(self, messages: Sequence[dict[str, Any]]) -> NoReturn:
        """Said once, and by name where it is not everybody's."""
        rank = next(rank for rank, each in enumerate(messages) if "problem" in each)
        problem, hint = messages[rank]["problem"], messages[rank]["hint"]
        self.leave_to_first()
        raise AgreedError(problem if rank == 0 else f"{self.name(rank)}: {problem}", hint)

    def add_up(self, flat: Tensor) -> None:
        """Replace a tensor, of the same size everywhere, by the sum of all processes' tensors."""
        self._finish(
            lambda: self._dist.all_reduce(flat, group=self._device_group, async_op=True),
            is_step=True,
        )
        self.watch.count_step()

    def measure_reduction(self, num_parameters: int, device: torch.device) -> float | None:
        """Seconds that one step's add_up takes; None: there is nobody to add up with."""
        if self.is_alone:
            return None
        flat, seconds = torch.zeros(num_parameters, device=device), 0.0
        for _ in range(2):  # the first one connects
            started = time.monotonic()
            self.add_up(flat)
            float(flat[0])  # waits for a GPU
            seconds = time.monotonic() - started
        self.watch.forget_steps()
        return seconds

    def busy(self) -> AbstractContextManager[None]:
        """In the block this process keeps others waiting, and does not hang."""
        return nullcontext() if self.is_alone else self.watch.signs.busy()

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Rows [n, ...] of every process -> all of them, by rank; they may be differently many."""
        if self.is_alone:
            return rows
        parts = self._gather(rows.contiguous().view(torch.uint8).reshape(-1))
        return torch.cat([p.view(rows.dtype).reshape(-1, *rows.shape[1:]) for p in parts])

    def send(self, tensors: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        """The first process's tensors, in every process; what the others give does not matter."""
        if self.is_alone:
            return tensors
        named = [(group, name) for group, each in tensors.items() for name in each]
        shapes = [(list(tensors[g][n].shape), str(tensors[g][n].dtype)) for g, n in named]
        sent: dict[str, dict[str, Tensor]] = {}
        for (group, name), (shape, kind) in self.from_first(
            lambda: list(zip(named, shapes, strict=True))
        ):
            dtype = getattr(torch, kind.removeprefix("torch."))
            tensor = tensors[group][name] if self.is_first else torch.empty(shape, dtype=dtype)
            self._finish(partial(self._dist.broadcast, tensor, 0, async_op=True))
            sent.setdefault(group, {})[name] = tensor
        return sent

    def meet(self) -> None:
        """Wait until every process is here, however long the first one saves."""
        if not self.is_alone:
            self._finish(lambda: self._dist.all_reduce(torch.zeros(1), async_op=True))

    def _gather(self, content: Tensor) -> list[Tensor]:
        """One-dimensional tensors of all processes, of any length, by rank."""
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.count)]
        size = torch.tensor([len(content)])
        self._finish(lambda: self._dist.all_gather(sizes, size, async_op=True))
        longest = max(map(int, sizes))
        padded = torch.zeros(longest, dtype=content.dtype)
        padded[: len(content)] = content
        parts = [torch.empty_like(padded) for _ in range(self.count)]
        if longest:
            self._finish(lambda: self._dist.all_gather(parts, padded, async_op=True))
        return [part[: int(size)] for part, size in zip(parts, sizes, strict=True)]

    def _finish(self, begin: Callable[[], Any], is_step: bool = False) -> None:
        """Begin an exchange and end it; the process leaves if that fails."""
        try:
            with self.busy():
                work = begin()
                if self._device_group is None or not is_step:  # a GPU waits for NCCL's by itself
                    self.watch.wait_for(work.is_completed, is_step)
                work.wait()
        except RuntimeError:  # a connection is closed
            self.watch.leave()


ALONE = Processes()
