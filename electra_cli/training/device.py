"""What a run computes on: the device, its precision, its memory and its random numbers."""

import ctypes
import os
import sys
from dataclasses import dataclass
from typing import Literal

import torch

from electra_cli.config import PretrainConfig
from electra_cli.errors import RunError
from electra_cli.machine import usable_cores, usable_memory_bytes
from electra_cli.model.layers.flash_attention import can_run_flash_attention
from electra_cli.training.processes import ALONE, Processes

Precision = Literal["fp32", "bf16", "fp16"]

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 32 * 2**20
_KERNELS_OF_A_STEP = 64

# What matrix products run in.
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Compute:
    """The device of a run, and what follows from it: chosen once, passed as one."""

    device: torch.device
    precision: Precision
    has_flash: bool  # attention runs in one kernel that keeps no probabilities

    @property
    def is_on_cpu(self) -> bool:
        """Whether the device is the host itself."""
        return self.device.type == "cpu"

    @property
    def can_skip_updates(self) -> bool:
        """Whether a fused optimizer skips an update that a number on the device forbids.

        Before pytorch#186360 an Apple GPU made the update all the same; on a CPU nothing waits.
        """
        return self.device.type == "cuda"

    @property
    def is_half(self) -> bool:
        """Whether matrix products run in 16 bits."""
        return self.precision != "fp32"

    def autocast(self) -> torch.autocast:
        """The context in which matrix products run in `precision`."""
        return torch.autocast(self.device.type, DTYPES[self.precision], enabled=self.is_half)

    def memory_bytes(self) -> int:
        """Memory that a run may fill: what is free on a GPU, what the process may use elsewhere."""
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[0]
        return usable_memory_bytes()


def select_compute(config: PretrainConfig, processes: Processes = ALONE) -> Compute:
    """What a config asks for. Raises RunError if the device or its precision is not there.

    Also limits torch's threads to the cores that the process may use, unless the user set them.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        cores = max(1, usable_cores() // processes.local_count)
        torch.set_num_threads(min(torch.get_num_threads(), cores))
    device = select_device(config.run.device, processes)
    fix_order(device, config.run.deterministic)
    precision = select_precision(config.run.precision, device)
    has_flash = can_run_flash_attention(device, DTYPES[precision], config.model.head_size)
    return Compute(device, precision, has_flash)


def select_device(name: str, processes: Processes = ALONE) -> torch.device:
    """`auto` or a device's name -> the device. Raises RunError if it is not there.

    Several processes of a machine take one GPU each. Also raises RunError in one of several
    processes of a launcher such as torchrun where a command does not know of the others.
    """
    world_size = os.environ.get("WORLD_SIZE", "1")
    if processes.is_alone and world_size.strip() not in ("", "1"):
        raise RunError(
            f"this command runs in one process; this is one of {world_size} (WORLD_SIZE)",
            hint="start electra itself, without torchrun or another launcher",
        )
    if not processes.is_alone and name not in ("auto", "cpu", "cuda"):
        raise RunError(
            f"{processes.count} processes cannot share the device {name!r}",
            hint="--device auto gives each process a GPU of its own; CUDA_VISIBLE_DEVICES=0,1 says "
            "which there are",
        )
    if not processes.is_alone and name != "cpu" and torch.cuda.is_available():
        number = processes.local_rank % torch.cuda.device_count()
        torch.cuda.set_device(number)
        return torch.device("cuda", number)
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        has_mps = torch.backends.mps.is_available() and processes.is_alone
        return torch.device("mps" if has_mps else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(
            f"there is no device {name!r}: {reason}", hint="--device cpu works everywhere"
        ) from None
    return device


def select_precision(requested: str, device: torch.device) -> Precision:
    """What the matrix products run in. Raises RunError if the device has no such arithmetic."""
    has_bf16 = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    if requested == "auto":
        if device.type == "cuda":
            return "bf16" if has_bf16 else "fp16"
        # bf16 without matrix units runs about 150 times slower than float32 on a CPU.
        has_units = device.type == "cpu" and torch.cpu.get_capabilities().get("amx_tile", False)
        return "bf16" if has_units else "fp32"
    # GradScaler, which fp16 needs, relies on skipped updates (Compute.can_skip_updates).
    if (requested == "bf16" and not has_bf16) or (requested == "fp16" and device.type != "cuda"):
        raise RunError(
            f"{device} does not train in {requested}", hint="--precision auto takes what it has"
        )
    assert requested in ("fp32", "bf16", "fp16")
    return requested  # type: ignore[return-value]


def ask_cublas_for_fixed_order() -> None:
    """A setting that cuBLAS reads at its first product, and that takes no time by itself.

    Source: docs.nvidia.com/cuda/cublas, "Results reproducibility".
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def fix_order(device: torch.device, is_fixed: bool) -> None:
    """Let a CUDA GPU add in the same order each time, or in whatever order is fastest.

    Call before the first product. Where torch knows no such kernel it raises RuntimeError.
    """
    if device.type != "cuda":
        return
    if is_fixed:
        ask_cublas_for_fixed_order()
    torch.use_deterministic_algorithms(is_fixed)
    # Nothing here reads memory that was not written, and to fill it takes time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def set_float32_products(compute: Compute) -> None:
    """Run float32 products (those of copy_loss) as TF32 when the others use half precision.

    Their inputs come from bf16 or fp16 products; TF32 keeps 10 bits of the mantissa, bf16 only 7,
    and an H100 multiplies TF32 7 times faster. With precision fp32, all products are exact.
    """
    if compute.device.type == "cuda":
        # Not torch.backends.cuda.matmul.fp32_precision alone: torch.compile's max-autotune reads
        # the older settings, which raise RuntimeError once that one differs from them.
        torch.set_float32_matmul_precision("high" if compute.is_half else "highest")
        # The host's products stay exact.
        torch.backends.mkldnn.matmul.fp32_precision = "ieee"  # type: ignore[attr-defined]


def avoid_kernels_per_shape(compute: Compute) -> None:
    """Keep oneDNN, torch's library for CPUs, from caching a kernel for each length of a batch.

    It keeps 1,024 kernels, and packed batches have another length in each step: new kernels, placed
    between the tensors, replaced old ones all the time, so that malloc found less and less room in
    one piece. The heap of a small model grew from 0.3 to 0.6 GB in 1,000 steps, without end.
    """
    # In float32 only GELU uses oneDNN; torch's own is as fast and a little more exact.
    torch.backends.mkldnn.set_flags(compute.is_half)  # type: ignore[no-untyped-call]
    # Products in 16 bits need oneDNN: it may keep about the kernels of one step. Read at first use.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(_KERNELS_OF_A_STEP))


def keep_freed_memory() -> None:
    """Let glibc's malloc keep what one training step frees for the next one.

    malloc returns freed memory to the system, sometimes often within one step. The kernel must then
    clear each page again: 50,000 to 230,000 page faults, 3 to 11% of a step of small on a CPU. The
    peak does not change. Thresholds that the environment sets are kept.
    """
    is_set = {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & os.environ.keys()
    if is_set or not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, -1)  # never
        # To set one threshold stops malloc from raising the other, as it would by itself.
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)


def seed_dropout(device: torch.device, seed: int) -> None:
    """Let the device's random numbers begin anew from a seed of 64 bits; waits for nothing."""
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)
