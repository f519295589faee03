"""Where the time of a step goes, by kernel class, from torch's profiler."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.gpu.machine import Figures, Machine
from electra_cli.model import networks
from electra_cli.model.masked_lm import MaskedLMOutput, masked_lm

CLASSES = ("products", "attention", "elementwise", "logits", "optimizer")
# Of kernels and operators: cuBLAS calls its kernels nvjet, gemm or xmma.
_ATTENTION = re.compile(r"flash|fmha|attention", re.IGNORECASE)
_PRODUCTS = re.compile(r"gemm|nvjet|xmma|cutlass|cublas|aten::(addmm|mm|bmm|baddbmm)\b")
_STEPS = 2  # to read what the profiler noted takes seconds a step


def time_by_class(step: Callable[[], object], machine: Machine) -> Figures:
    """Milliseconds per step of each class, and those in which the device is idle.

    On a CPU the operators' own time, which shows that this code runs.
    """
    count = 1 if machine.is_tiny else _STEPS
    on_gpu = machine.device.type == "cuda"
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    with _named_logits():
        for _ in range(1 if machine.is_tiny else 3):
            step()
        machine.synchronize()
        with profile(activities=activities) as profiler:
            started = time.perf_counter()
            for _ in range(count):
                step()
            machine.synchronize()
            wall = time.perf_counter() - started
    microseconds: Counter[str] = Counter()
    kernels = 0
    for event in profiler.events():
        timed = [(k.name, k.duration) for k in event.kernels]
        kernels += len(timed)
        if not on_gpu:
            timed = [(event.name, event.self_cpu_time_total)]
        for name, duration in timed:
            microseconds[_class_of(event, name)] += duration
    figures: dict[str, float | str] = {
        f"{name}, ms": microseconds[name] / 1e3 / count for name in CLASSES
    }
    figures["idle, ms"] = max(0.0, wall * 1e3 - sum(microseconds.values()) / 1e3) / count
    figures["kernels"] = kernels / count
    return figures


@contextmanager
def _named_logits() -> Iterator[None]:
    """Mark what the output layer runs."""

    def named(*arguments: object, **options: object) -> MaskedLMOutput:
        with record_function("logits"):
            return masked_lm(*arguments, **options)  # type: ignore[arg-type]

    with mock.patch.object(networks, "masked_lm", named):
        yield


def _class_of(event: FunctionEvent, kernel: str) -> str:
    parent: FunctionEvent | None = event
    while parent is not None:
        if parent.name == "logits":
            return "logits"
        if parent.name.startswith("Optimizer.step"):
            return "optimizer"
        parent = parent.cpu_parent
    if _ATTENTION.search(kernel):
        return "attention"
    if _PRODUCTS.search(kernel):
        return "products"
    if "multi_tensor" in kernel or "_foreach" in event.name:  # clipping
        return "optimizer"
    return "elementwise"
