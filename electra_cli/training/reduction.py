"""The one thing that processes do together in a step: add up gradients, sums and flags."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from electra_cli.training.processes import Processes


class Reduction:
    """A flat tensor [gradients | sums | not finite | wants to stop], added up once per step.

    It takes 4 bytes per parameter. The sums are float32, which counts to 16 million exactly.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], processes: Processes) -> None:
        self.stops = False  # some process was asked to stop
        self._parameters = list(parameters)
        self._processes = processes
        self._flat: Tensor | None = None
        self._stop_copy: Tensor | None = None  # on its way from a GPU
        self._copied: Any = None  # the event at its end

    def add_up(
        self, sums: Mapping[str, Tensor], is_finite: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """This process's sums [] and whether its losses are finite -> those of all processes.

        The parameters' gradients, or what they are scaled to, become those of all processes, too.
        """
        wish = torch.full_like(is_finite, self._processes.wants_stop, dtype=torch.float32)
        tail = torch.stack(
            [*(value.float() for value in sums.values()), (~is_finite).float(), wish]
        )
        # A parameter that no loss depends on has no gradient, in no process.
        own = [parameter for parameter in self._parameters if parameter.grad is not None]
        sizes = [parameter.numel() for parameter in own]
        size = sum(sizes) + len(tail)
        if self._flat is None or len(self._flat) != size:  # other parameters than before train now
            self._flat = torch.zeros(size, device=tail.device)
        *parts, end = torch.split(self._flat, [*sizes, len(tail)])
        views = [part.view_as(parameter) for part, parameter in zip(parts, own, strict=True)]
        torch._foreach_copy_(views, [p.grad for p in own if p.grad is not None])
        end.copy_(tail)
        self._processes.add_up(self._flat)
        for parameter, view in zip(own, views, strict=True):
            parameter.grad = view
        *values, not_finite, wish = end.clone().unbind()
        self._look_at(wish)
        return dict(zip(sums, values, strict=True)), not_finite == 0

    def _look_at(self, wish: Tensor) -> None:
        """Learn whether to stop; of a GPU what it said a step ago, so that no step waits for it."""
        if wish.device.type != "cuda":
            self.stops = bool(wish > 0)
            return
        if self._stop_copy is not None:
            self._processes.watch.wait_for(self._copied.query, is_step=True)
            self.stops = bool(self._stop_copy > 0)
        else:
            self._stop_copy = torch.zeros((), pin_memory=True)
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._stop_copy.copy_(wish, non_blocking=True)
        self._copied.record()
