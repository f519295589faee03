"""Sums over the steps since the last row of the log, kept on the device until the row is due."""

from collections.abc import Mapping

import torch
from torch import Tensor


class MetricSums:
    """Adds up what an objective counts, without ever waiting for the device."""

    def __init__(self, device: torch.device) -> None:
        # float64 counts tokens exactly; Apple's GPUs have none.
        self._dtype = torch.float32 if device.type == "mps" else torch.float64
        self._device = device
        self.names: tuple[str, ...] = ()
        self.values = torch.zeros(0, dtype=self._dtype, device=device)  # in the order of names
        self.num_tokens = 0
        self.num_masked = 0

    def add(self, sums: Mapping[str, Tensor], num_tokens: int, num_masked: int) -> None:
        """One micro-batch: what its networks counted, scalars of the device."""
        if self.names != tuple(sums):
            self._rename(tuple(sums))
        self.values += torch.stack([value.to(self._dtype) for value in sums.values()])
        self.num_tokens += num_tokens
        self.num_masked += num_masked

    def _rename(self, names: tuple[str, ...]) -> None:
        """Give the values this order; what was not counted before begins at 0."""
        known = self.named()
        assert known.keys() <= set(names), "an objective counts the same in every micro-batch"
        zero = torch.zeros((), dtype=self._dtype, device=self._device)
        self.values = torch.stack([known.get(name, zero) for name in names])
        self.names = names

    def on_host(self, values: list[float]) -> dict[str, float]:
        """The sums by name, from `values` copied to the host, with the counts the host knows."""
        named = dict(zip(self.names, values, strict=True))
        return {**named, "tokens": self.num_tokens, "masked": self.num_masked}

    def reset(self) -> None:
        """Start again from zero."""
        self.values.zero_()
        self.num_tokens = self.num_masked = 0

    def named(self) -> dict[str, Tensor]:
        """The sums by name, views of the device's memory."""
        return dict(zip(self.names, self.values.unbind(), strict=True))

    def load(self, named: Mapping[str, Tensor], num_tokens: int, num_masked: int) -> None:
        """Go on from named()."""
        self.names = tuple(named)
        empty = torch.zeros(0, dtype=self._dtype)
        values = torch.stack(list(named.values())) if named else empty
        self.values = values.to(self._device, self._dtype)
        self.num_tokens, self.num_masked = num_tokens, num_masked
