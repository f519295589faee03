"""How fast the GPU trains: our step and the plain Hugging Face step, on the same card in one run.

Rates are tokens of real text per second, padding not counted, over whole optimizer steps; a
share is the program's own FLOPs (electra_cli/model/cost/flops.py) against the card's bf16 peak.
"""

import gc
import time
from collections.abc import Callable
from functools import cache

import torch

from benchmarks.baselines import PaddedBatch, PlainStep
from benchmarks.batches import PAD_ID, VOCAB_SIZE, Shape, make_batch
from benchmarks.gpu.kernels import time_by_class
from benchmarks.gpu.machine import Figures, Machine, Results
from benchmarks.gpu.steps import TINY_SIZES
from electra_cli.batch import Batch
from electra_cli.config import PretrainConfig
from electra_cli.model.objectives.registry import build_objective, training_flops
from electra_cli.presets import with_options
from electra_cli.runs.micro_batch import estimate_bytes, fit_micro_batch
from electra_cli.runs.passes import choose_passes
from electra_cli.runs.session import count_model_parameters
from electra_cli.training.processes import ALONE
from electra_cli.training.trainer import Trainer

# Dense bf16 FLOP/s, by what the card's name contains (NVIDIA's data sheets).
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
# A step of `large` has 2,048 windows and takes 7 seconds; 256 are two micro-batches.
SHAPES = {
    "small": Shape("small", 128, 128),
    "base": Shape("base", 256, 512),
    "large": Shape("large", 256, 512),
}
# Tokens/s to reach with dropout 0.1; times as fast as the plain step, by whether lengths are mixed.
BARS = {"small": 1.2e6, "base": 400e3, "large": 165e3}
PLAIN_BARS = {False: 1.5, True: 2.5}
# The ways to run our step; of a larger model the GPU is never done before its host.
WAYS: dict[str, dict[str, object]] = {
    "compiled, graphs": {"run.compile": True, "run.cuda_graphs": True},
    "compiled": {"run.compile": True},
    "graphs": {"run.cuda_graphs": True},
    "eager": {},
}
_WAYS_OF = {"small": tuple(WAYS), "base": ("compiled", "eager"), "large": ("compiled", "eager")}

Rates = dict[bool, float]  # our best tokens/s with dropout, by whether lengths are mixed


def measure(preset: str, machine: Machine, results: Results) -> None:
    """Everything about one preset, the most telling first; to compile the plain step takes longest.

    Of ours the fastest way and eager have their kernels told by class.
    """
    ours: Rates = {}
    fastest, *others = _WAYS_OF[preset]
    _measure_ours(preset, machine, results, fastest, 0.1, ours)
    _measure_plain(preset, machine, results, "eager", ours)
    for way in others:
        _measure_ours(preset, machine, results, way, 0.1, ours)
    _measure_ours(preset, machine, results, fastest, 0.0, ours)
    _measure_plain(preset, machine, results, "compiled", ours)


def _measure_ours(
    preset: str, machine: Machine, results: Results, way: str, dropout: float, ours: Rates
) -> None:
    """Rates, peak memory beside the program's estimate, and kernels."""
    part, name = f"fast, {preset}", f"{way}, dropout {dropout:g}"
    shape, compute = _shape(preset, machine), machine.compute("bf16")
    _free_memory(machine)

    @cache
    def set_up() -> tuple[PretrainConfig, int, Trainer]:
        config = _sized(shape.config(dropout), machine)
        config = with_options(config, WAYS[way], "")
        _, parameters = count_model_parameters(config, VOCAB_SIZE)
        config = fit_micro_batch(config, parameters, compute)
        torch.manual_seed(0)
        model = build_objective(config.model, config.objective, VOCAB_SIZE, PAD_ID)
        choose_passes(model, config, compute, ALONE)
        return config, parameters, Trainer(model, config, compute)

    def find(mixed: bool) -> Figures:
        config, parameters, trainer = set_up()
        windows = config.run.windows_per_pass
        batch = _pinned(make_batch(config, shape.lengths(mixed)), machine)
        seconds = seconds_per_step(lambda: trainer.train_step(iter([batch])), machine)
        lengths = batch.cu_seqlens.diff().long()
        squared = int((lengths * lengths).sum())
        counted = training_flops(config, VOCAB_SIZE)
        flops = counted.count(batch.num_tokens, batch.num_masked, squared) / seconds
        rate = batch.num_tokens / seconds
        figures: dict[str, float | str] = {"tokens/s": rate, "ms per step": 1e3 * seconds}
        if dropout and not mixed:
            figures["bar"] = BARS[preset]
        if dropout:
            ours[mixed] = max(rate, ours.get(mixed, 0.0))
        if peak := _peak_flops(machine):
            figures["share of the peak"] = flops / peak
        figures["windows at a time"] = windows
        if machine.device.type == "cuda":
            figures["GB at most"] = torch.cuda.max_memory_reserved() / 1e9
        figures["GB estimated"] = estimate_bytes(config, parameters, windows, compute) / 1e9
        figures["loss"] = trainer.flush(0.0).loss  # raises if one was not finite
        return figures

    def kernels() -> Figures:
        config, _, trainer = set_up()
        batch = _pinned(make_batch(config, shape.lengths(mixed=False)), machine)
        return time_by_class(lambda: trainer.train_step(iter([batch])), machine)

    results.take(part, name, lambda: find(mixed=False))
    if dropout:
        results.take(part, f"{name}, mixed lengths", lambda: find(mixed=True))
    if dropout and way in (_WAYS_OF[preset][0], "eager"):
        results.take(part, f"{name}, by kernel class", kernels)


def _measure_plain(preset: str, machine: Machine, results: Results, way: str, ours: Rates) -> None:
    """Hugging Face's own losses on padded windows, as many at a time as fit: its logits are those
    of every token."""
    shape = _shape(preset, machine)
    config = _sized(shape.config(0.1), machine)
    _free_memory(machine)

    @cache
    def set_up() -> PlainStep:
        torch.manual_seed(0)
        plain = PlainStep(config)
        plain.networks.to(machine.device)
        if way == "compiled":
            torch.compiler.reset()
            for network in plain.networks:  # a whole network takes more than a minute
                for layer in network.electra.encoder.layer:
                    layer.compile(dynamic=True)
        return plain

    def find(mixed: bool) -> Figures:
        plain, windows = set_up(), shape.num_sequences
        while windows:
            batch = make_batch(config, Shape(preset, windows, shape.max_length).lengths(mixed))
            padded = PaddedBatch(*(x.to(machine.device) for x in PaddedBatch.of(batch)))

            def step(padded: PaddedBatch = padded) -> None:
                with machine.compute("bf16").autocast():
                    plain.train(padded)

            try:
                rate = batch.num_tokens / seconds_per_step(step, machine)
            except torch.OutOfMemoryError:
                windows //= 2
                continue
            figures: dict[str, float | str] = {"tokens/s": rate, "windows at a time": windows}
            if mixed in ours:
                figures["ours, times as fast"] = ours[mixed] / rate
                figures["bar"] = PLAIN_BARS[mixed]
            return figures
        raise RuntimeError("not even one window fits")

    name = f"plain Hugging Face step, {way}"
    results.take(f"fast, {preset}", name, lambda: find(mixed=False))
    if not machine.is_tiny:  # another compilation of minutes on a CPU
        results.take(f"fast, {preset}", f"{name}, mixed lengths", lambda: find(mixed=True))


def _shape(preset: str, machine: Machine) -> Shape:
    return Shape(preset, 4, 16) if machine.is_tiny else SHAPES[preset]


def _sized(config: PretrainConfig, machine: Machine) -> PretrainConfig:
    sizes = {**TINY_SIZES, "model.num_hidden_layers": 1} if machine.is_tiny else {}
    return with_options(config, sizes, "")


def _free_memory(machine: Machine) -> None:
    """That of the case before."""
    gc.collect()
    if machine.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _pinned(batch: Batch, machine: Machine) -> Batch:
    """As the reading thread hands it over."""
    return batch.pin_memory() if machine.device.type == "cuda" else batch


def seconds_per_step(step: Callable[[], object], machine: Machine) -> float:
    """The mean over as many steps as fill a second and a half, after three others."""
    for _ in range(1 if machine.is_tiny else 3):
        step()
    machine.synchronize()
    started = time.perf_counter()
    step()
    machine.synchronize()
    once = time.perf_counter() - started
    count = 1 if machine.is_tiny else max(3, min(100, int(1.5 / once)))
    started = time.perf_counter()
    for _ in range(count):
        step()
    machine.synchronize()
    return (time.perf_counter() - started) / count


def _peak_flops(machine: Machine) -> float | None:
    name = machine.facts()["device"]
    return next((peak for part, peak in PEAKS.items() if part in name), None)
