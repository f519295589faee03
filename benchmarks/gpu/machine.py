"""The device that is asked, and how its answers are written down."""

import json
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from electra_cli.model.layers import attention
from electra_cli.model.layers.flash_attention import can_run_flash_attention
from electra_cli.training.device import DTYPES, Compute, Precision
from tests.flash_kernels import flash_kernels_on_cpu
from tests.recorded_graphs import graphs_on_cpu

Figures = Mapping[str, float | str]


@dataclass(frozen=True)
class Machine:
    """A GPU; or a CPU, which only shows that every line runs."""

    device: torch.device
    is_tiny: bool

    def compute(self, precision: Precision) -> Compute:
        """As select_compute has it, for heads of 64."""
        is_like_a_gpu = self.device.type == "cpu" and precision != "fp32"  # see branches()
        has_flash = can_run_flash_attention(self.device, DTYPES[precision], 64) or is_like_a_gpu
        return Compute(self.device, precision, has_flash)

    def synchronize(self) -> None:
        """Wait until the device has done everything."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    @contextmanager
    def branches(self) -> Iterator[None]:
        """In this context a CPU takes the branches of a GPU: the flash operator and CUDA graphs
        (tests/), and compiled graphs, as torch traces them, without inductor's C++, which takes
        minutes."""
        if self.device.type == "cuda":
            yield
            return

        def choose(device: torch.device, dtype: torch.dtype, head_size: int) -> str:
            return "sdpa" if dtype == torch.float32 else "flash"

        torch.set_num_threads(1)  # tiny shapes run fastest so
        quick = partial(torch.compile, backend="eager")
        with (
            flash_kernels_on_cpu(),
            graphs_on_cpu(),
            mock.patch.object(attention, "choose_kernel", choose),
            mock.patch.object(torch, "compile", quick),
        ):
            yield

    def facts(self) -> dict[str, str]:
        """The device and the versions that the figures hold for."""
        is_gpu = self.device.type == "cuda"
        return {
            "device": torch.cuda.get_device_name() if is_gpu else "a CPU: nothing is measured",
            "torch": torch.__version__,
            "cuda": str(torch.version.cuda),
        }


@dataclass(frozen=True)
class Results:
    """A file of JSON lines, one per result, which grows as results come."""

    path: Path

    def take(self, part: str, name: str, find: Callable[[], Figures]) -> None:
        """Run `find`, print what it found or how it failed, and go on."""
        started = time.perf_counter()
        result: dict[str, Any] = {"part": part, "name": name, "state": "ok"}
        try:
            result["figures"] = dict(find())
        except Exception as error:  # whatever it is, the next part may still tell something
            result["state"] = "failed"
            reason = str(error).strip().splitlines() or [""]
            result["figures"] = {"error": f"{type(error).__name__}: {reason[0]}"}
            result["traceback"] = traceback.format_exc()
        result["seconds"] = round(time.perf_counter() - started, 1)
        self.append(result)

    def append(self, result: Mapping[str, Any]) -> None:
        """Print one result and keep it."""
        with self.path.open("a") as file:
            file.write(json.dumps(result) + "\n")
        print(line_of(result), flush=True)

    def all(self) -> list[dict[str, Any]]:
        """The results so far, of all parts."""
        if not self.path.is_file():
            return []
        return [json.loads(line) for line in self.path.read_text().splitlines()]


def line_of(result: Mapping[str, Any]) -> str:
    """A result for a reader's eyes."""
    figures = ", ".join(f"{name} {_shown(value)}" for name, value in result["figures"].items())
    mark = "" if result["state"] == "ok" else f" {result['state'].upper()}"
    return f"[{result['part']}]{mark} {result['name']}: {figures} ({result['seconds']} s)"


def table_of(results: list[dict[str, Any]]) -> str:
    """Everything in Markdown."""
    rows = ["| part | what | state | figures | seconds |", "|---|---|---|---|---:|"]
    for each in results:
        figures = "; ".join(f"{name} {_shown(value)}" for name, value in each["figures"].items())
        cells = (each["part"], each["name"], each["state"], figures, each["seconds"])
        rows.append("| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _shown(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
