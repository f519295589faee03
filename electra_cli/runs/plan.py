"""The plan of a run: sizes, tokens, epochs, FLOPs, memory and time, before it begins."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from electra_cli import console
from electra_cli.config import PretrainConfig
from electra_cli.data.prepared import PreparedData
from electra_cli.disk import as_argument
from electra_cli.errors import DataError
from electra_cli.model.objectives.registry import objective_class, training_flops
from electra_cli.runs.micro_batch import estimate_bytes, memory_of_process
from electra_cli.runs.session import count_model_parameters
from electra_cli.schedule import mean_value
from electra_cli.training.device import Compute
from electra_cli.training.processes import ALONE, Processes

# Rows of the products that are timed: on a GPU smaller ones would time the host's launches.
_PROBE_SIZE, _GPU_PROBE_SIZE = 1_024, 8_192
_FORWARD_SHARE = 1 / 3  # of a training step: the backward pass computes twice as much


@dataclass(frozen=True)
class RunSize:
    """How much a run reads and computes."""

    main_parameters: int
    total_parameters: int
    tokens_per_step: float
    num_epochs: float | None  # None without data
    num_eval_windows: int  # of an evaluation
    total_flops: float
    authors_flops: float | None  # as the authors count; None where they count no such run


@dataclass(frozen=True)
class Plan:
    """What `electra train --dry-run` shows, and the object of its `--json`: these are its keys."""

    main_network: str  # discriminator or masked_lm
    main_parameters: int
    generator_parameters: int | None  # those it does not share; None: there is no generator
    generator_layers: int | None
    generator_hidden_size: int | None
    num_steps: int
    windows_per_step: int
    windows_per_pass: int  # of a forward pass
    tokens_per_step: float
    total_tokens: float
    num_epochs: float | None  # None without data
    training_flops: float
    authors_flops: float | None  # as the authors count; None where they count no such run
    memory_bytes: int  # that it will need
    available_memory_bytes: int
    device: str
    precision: str
    num_threads: int | None  # of a CPU
    flops_per_second: float | None  # measured, of training steps; None: no window fits into memory
    seconds: float | None
    probes: str | None
    num_processes: int = 1
    num_machines: int = 1
    reduction_seconds: float | None = None  # measured, of a step; None: one process reduces nothing


def measure_run(config: PretrainConfig, vocab_size: int, data: PreparedData | None) -> RunSize:
    """Sizes of a run on this data, or on windows of full length where there is none.

    Raises DataError if the training documents do not fill one batch.
    """
    run = config.run
    main, total = count_model_parameters(config, vocab_size)
    window_tokens = float(config.data.max_seq_length)
    num_epochs, num_eval_windows = None, run.num_eval_windows
    if data is not None:
        num_windows = data.reader("train", config).num_windows(0)
        if num_windows < run.batch_size:
            raise DataError(
                f"{data.directory} holds {num_windows} windows of {config.data.max_seq_length} "
                f"tokens, less than one batch of {run.batch_size}",
                hint="prepare more text, or a smaller run.batch_size",
            )
        # Each window adds [CLS] and one or two [SEP].
        content_tokens = data.manifest.num_tokens / num_windows
        window_tokens = content_tokens + 3 - config.data.single_segment_fraction
        new = run.num_steps * run.batch_size * (1 - config.data.replay_share)
        num_epochs = float(new / num_windows)
        held_out = data.reader("validation", config).num_windows(0)
        num_eval_windows = min(num_eval_windows, held_out)
    tokens_per_step = run.batch_size * window_tokens
    objective = objective_class(config.objective.name)
    counts = (
        round(tokens_per_step),
        round(tokens_per_step * mean_value(config.objective.mask_fraction)),
        round(tokens_per_step * window_tokens),
    )
    steps_alone = min(config.objective.steps_alone, run.num_steps)
    total_flops = training_flops(config, vocab_size).count(*counts) * run.num_steps
    main_flops = objective.main_flops(config.model, vocab_size).count(*counts)
    return RunSize(
        main_parameters=main,
        total_parameters=total,
        tokens_per_step=tokens_per_step,
        num_epochs=num_epochs,
        num_eval_windows=num_eval_windows,
        total_flops=total_flops - main_flops * steps_alone,
        authors_flops=objective.authors_flops(config, vocab_size),
    )


def steps_of_epochs(config: PretrainConfig, data: PreparedData, epochs: float) -> int:
    """Steps that read so many times the windows of the first epoch, rounded up.

    Windows of older text (data.replay) do not count.

    Later epochs have about as many: documents are cut at other places. Batches go on from one
    epoch into the next.
    """
    num_windows = data.reader("train", config).num_windows(0)
    per_step = config.run.batch_size * (1 - config.data.replay_share)
    return math.ceil(epochs * num_windows / per_step)


def matrix_flops_per_second(compute: Compute) -> float:
    """Measure the rate of bare matrix products, in about 50 ms."""
    size = _PROBE_SIZE if compute.is_on_cpu else _GPU_PROBE_SIZE
    left = torch.randn(size, size, device=compute.device)
    repeats = 4
    with compute.autocast():
        float((left @ left).sum())  # warm up, and wait
        started = time.perf_counter()
        for _ in range(repeats):
            product = left @ left
        float(product.sum())
    return repeats * 2 * size**3 / (time.perf_counter() - started)


def make_plan(
    config: PretrainConfig,
    size: RunSize,
    compute: Compute,
    flops_per_second: float | None,
    probes: str | None = None,
    processes: Processes = ALONE,
    reduction_seconds: float | None = None,
) -> Plan:
    """What a run of this size is.

    `flops_per_second` is the rate of training steps of all processes, None where none fits into
    memory; `probes` says how often and at which cost there are some.
    """
    run, has_generator = config.run, config.objective.has_generator
    seconds = None
    if flops_per_second is not None:
        evaluated = size.num_eval_windows / run.eval_every / run.batch_size  # per window trained
        seconds = size.total_flops / flops_per_second * (1 + evaluated * _FORWARD_SHARE)
        seconds += run.num_steps * (reduction_seconds or 0.0)
    windows = run.windows_of_part(processes.count)
    return Plan(
        main_network=objective_class(config.objective.name).main_network,
        main_parameters=size.main_parameters,
        generator_parameters=size.total_parameters - size.main_parameters
        if has_generator
        else None,
        generator_layers=config.model.generator_layers if has_generator else None,
        generator_hidden_size=config.model.generator_hidden_size if has_generator else None,
        num_steps=run.num_steps,
        windows_per_step=run.batch_size,
        windows_per_pass=windows,
        tokens_per_step=size.tokens_per_step,
        total_tokens=size.tokens_per_step * run.num_steps,
        num_epochs=size.num_epochs,
        training_flops=size.total_flops,
        authors_flops=size.authors_flops,
        memory_bytes=estimate_bytes(config, size.total_parameters, windows, compute),
        available_memory_bytes=memory_of_process(compute, processes),
        device=str(compute.device),
        precision=compute.precision,
        num_threads=torch.get_num_threads() if compute.is_on_cpu else None,
        flops_per_second=flops_per_second,
        seconds=seconds,
        probes=probes,
        num_processes=processes.count,
        num_machines=processes.num_machines,
        reduction_seconds=reduction_seconds,
    )


def end_dry_run(
    verb: str, root: Path | None, seconds: float | None, max_minutes: float | None
) -> None:
    """The last lines of a dry run, with what it made of options that it does not act on."""
    if max_minutes is not None and seconds is not None:
        share = min(1.0, max_minutes * 60 / max(seconds, 1e-9))
        enough = "all of it" if share == 1 else f"about {share:.1%} of it; electra resume goes on"
        console.talk(f"--max-minutes {max_minutes:g} allows {enough}")
    named = "" if root is None else f" {as_argument(root)}"
    console.hint(f"this was a dry run; leave --dry-run out to {verb}{named}")


def show_plan(plan: Plan) -> None:
    """The plan as a table."""
    generator = "none"
    if plan.generator_parameters is not None:
        generator = (
            f"{plan.generator_parameters / 1e6:,.2f}M, {plan.generator_layers} layers of "
            f"{plan.generator_hidden_size}"
        )
    speed, time_needed = "no window fits into memory", "unknown"
    if plan.flops_per_second is not None and plan.seconds is not None:
        speed = f"steps at {plan.flops_per_second / 1e9:,.0f} GFLOP/s"
        time_needed = f"about {console.format_duration(plan.seconds)}"
    threads = "" if plan.num_threads is None else f"threads: {plan.num_threads}, "
    flops = f"{plan.training_flops:.4g}"
    if plan.authors_flops is not None:
        flops += f" ({plan.authors_flops:.4g} as the authors count)"
    each = " per process" if plan.num_processes > 1 else ""
    memory, available = plan.memory_bytes / 2**30, plan.available_memory_bytes / 2**30
    rows = [
        (plan.main_network, f"{plan.main_parameters / 1e6:,.2f}M parameters"),
        ("generator (not shared)", generator),
        ("steps", f"{plan.num_steps:,}"),
        ("per step", f"{plan.windows_per_step:,} windows, {plan.tokens_per_step:,.0f} tokens"),
        ("per forward pass", f"{plan.windows_per_pass:,} windows"),
        ("total tokens", f"{plan.total_tokens:,.0f}"),
        ("epochs", "no data yet" if plan.num_epochs is None else f"{plan.num_epochs:,.2f}"),
        ("training FLOPs", flops),
        ("memory", f"about {memory:.1f} of {available:.1f} GB{each}"),
        ("device", f"{plan.device}, {plan.precision}, {threads}{speed}"),
        ("time", time_needed),
    ]
    if plan.reduction_seconds is not None:
        machines = f" on {plan.num_machines} machines" if plan.num_machines > 1 else ""
        windows = math.ceil(plan.windows_per_step / plan.num_processes)
        rows[4:4] = [
            ("processes", f"{plan.num_processes}{machines}, {windows:,} windows each"),
            ("network", f"{plan.reduction_seconds * 1e3:,.0f} ms per step to add up gradients"),
        ]
    if plan.probes is not None:
        rows.append(("probes", plan.probes))
    console.table("plan", ("", ""), rows)
