"""The processes that train one run together, and all that they say to each other.

Each has the whole model and computes its share of a step; one reduction per step makes gradients,
sums and flags equal, and with them all that follows. What they say is JSON and tensors. gloo
carries it between hosts, NCCL the reduction between CUDA GPUs. Beside commands/launch.py this is
the only importer of torch.distributed; one process alone never imports it.

Whoever waits for a process that is gone leaves at once, from inside the wait: nothing that would
come later could be done without it.
"""

import json
import math
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

import torch
from torch import Tensor

from electra_cli.errors import RunError, UserError
from electra_cli.stopping import stop_request, wait_for
from electra_cli.training.place import ALONE_PLACE, Place
from electra_cli.training.signs_of_life import SignsOfLife

Result = TypeVar("Result")

_ERROR_FILE = "TORCHELASTIC_ERROR_FILE"  # where torch's agent looks for what a worker says

_FIRST_PAUSE, _LONGEST_PAUSE = 50e-6, 2e-3  # seconds between looks at what is under way
# A process that hangs is waited for this long after a stop was asked for, or three steps.
_PATIENCE_SECONDS = 5.0
_STEPS_OF_PATIENCE = 3
_SILENT_SECONDS = 4.0  # without a sign of life from a process that is stopped or cut off
_GONE_SECONDS = 2.5  # within which a process that is gone misses two signs of life
_AGENT_SECONDS = 3.0  # within which torch's agent ends the others, once one has failed


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
        self.hosts = [platform.node()]  # by rank, once they have met
        self._tell = tell
        self.devices: list[str] = []  # by rank, once they are chosen
        self.go_on = "start it again"  # the hint where a process is gone
        self.on_loss: Callable[[str], None] = lambda problem: None  # before this process leaves
        self._device_group: Any = None
        self._reduced_at: float | None = None
        self._longest_step: float | None = None  # seconds; the first ones may compile

    @property
    def is_alone(self) -> bool:
        """Whether this process is the only one."""
        return self.count == 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

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
        host = f" on {self.hosts[rank]}" if len(self.hosts) == self.count else ""
        return f"process {rank}{host}"

    def __enter__(self) -> Self:
        """Meet the others. Raises KeyboardInterrupt if a stop is asked for before all are there."""
        if self.is_alone:
            return self
        with stop_request() as stop:
            self._stop = stop
            wait_for(self._join, stop)
        self.hosts = self.gather(platform.node)
        return self

    def _join(self) -> None:
        import torch.distributed as dist

        self._dist: Any = dist
        try:
            store, _, _ = next(self._dist.rendezvous("env://"))
            self._dist.init_process_group(
                "gloo", store=store, rank=self.rank, world_size=self.count
            )
        except (RuntimeError, ValueError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise RunError(
                f"process {self.rank} on {platform.node()} does not reach the others at "
                f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}: {reason}",
                hint="MASTER_ADDR and MASTER_PORT must name a free port of process 0's machine",
            ) from None
        self._store = store
        self.signs = SignsOfLife(store, self.rank, self.count)

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
        if error is None or isinstance(error, KeyboardInterrupt):
            self.meet()
        elif _ERROR_FILE not in os.environ:  # torch's agent learns why from the exit code
            self.signs.tell()
        self.signs.close()
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
            self._leave(None)

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
        now = time.monotonic()
        if self._reduced_at is not None:
            self._longest_step = max(self._longest_step or 0.0, now - self._reduced_at)
        self._reduced_at = now

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
        self._reduced_at = self._longest_step = None
        return seconds

    def busy(self) -> AbstractContextManager[None]:
        """In the block this process keeps others waiting, and does not hang."""
        return nullcontext() if self.is_alone else self.signs.busy()

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

    def wait_for(self, is_done: Callable[[], bool], is_step: bool = False) -> None:
        """Wait, and look for the others meanwhile: no signal reaches a process that is blocked."""
        pause, asked_at = _FIRST_PAUSE, None
        silent: list[int] = []
        while not is_done():
            time.sleep(pause)
            pause = min(pause * 1.2, _LONGEST_PAUSE)
            if not self.wants_stop:
                continue
            asked_at = asked_at or time.monotonic()
            patience = max(_PATIENCE_SECONDS, _STEPS_OF_PATIENCE * (self._longest_step or math.inf))
            is_late = is_step and time.monotonic() - asked_at > patience
            with suppress(RuntimeError):  # the store is gone: a connection will tell the rest
                silent = self.signs.silent(_SILENT_SECONDS, has_to_move=is_late)
            if silent:
                self.signs.end(silent)
                self._leave(" and ".join(map(self.name, silent)) + " does not answer")

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
                    self.wait_for(work.is_completed, is_step)
                work.wait()
        except RuntimeError:  # a connection is closed
            self._leave(None)

    def _leave(self, problem: str | None) -> NoReturn:
        """End this process because another one is gone; one of all says which, unless that did."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        has_agent = _ERROR_FILE in os.environ
        if problem is None and not has_agent:
            problem = self._name_lost()
        self.on_loss(problem or "another process of the run ended")
        if has_agent:
            # The agent has seen the one that ended, and ends the others. It reads what is said
            # here, and tells it if no process ended by itself.
            said = {"message": problem or "", "hint": self.go_on}
            with suppress(OSError):
                Path(os.environ[_ERROR_FILE]).write_text(json.dumps(said))
            if not self.wants_stop:  # else it has ended this process already, as far as it can
                time.sleep(_AGENT_SECONDS)
        elif problem is not None and self._tell is not None:
            self._tell(problem, self.go_on)
        sys.stderr.flush()
        os._exit(1)

    def _name_lost(self) -> str | None:
        """Which process is gone; None if that one has said it, or another one does."""
        silent = [0]  # where the store is gone: it was the first process's
        until = time.monotonic() + 2 * _GONE_SECONDS
        with suppress(RuntimeError):
            while time.monotonic() < until and not self.signs.is_told:
                silent = self.signs.silent(_GONE_SECONDS)
                if silent:
                    break
                time.sleep(0.1)
            if self._store.add("naming", 1) > 1:
                return None
        if self.signs.is_told or not silent:
            return None
        return " and ".join(map(self.name, silent)) + " is gone"


ALONE = Processes()
