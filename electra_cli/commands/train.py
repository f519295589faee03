"""`electra train`: a new run."""

from contextlib import ExitStack
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from electra_cli import console
from electra_cli.commands.processes import meet_processes
from electra_cli.commands.recipe import load_recipe, vocab_size_of
from electra_cli.commands.train_options import TrainOptions, check_options
from electra_cli.config import PretrainConfig
from electra_cli.data.prepared import open_training_data
from electra_cli.disk import as_argument
from electra_cli.finetuning.probe_files import describe_probes, open_probes
from electra_cli.locks import hold_run
from electra_cli.presets import with_options
from electra_cli.run_directory import RUNS_FOLDER, RunDirectory
from electra_cli.runs.agreement import read_config, refuse_differences
from electra_cli.runs.health import warnings_before_training
from electra_cli.runs.loop import train_to_end, warn_about
from electra_cli.runs.micro_batch import fit_micro_batch
from electra_cli.runs.out_of_memory import explain_out_of_memory
from electra_cli.runs.passes import hint_at_graphs
from electra_cli.runs.plan import (
    end_dry_run,
    make_plan,
    measure_run,
    show_plan,
    steps_of_epochs,
)
from electra_cli.runs.session import Session, count_model_parameters, create_run, open_session
from electra_cli.runs.starting import StartingPoint, begin_run
from electra_cli.runs.step_timing import measure_flops_per_second
from electra_cli.training.device import Compute, select_compute
from electra_cli.training.processes import Processes


def train(options: TrainOptions) -> None:
    """Pre-train in a new run folder."""
    with meet_processes() as processes, ExitStack() as stack:
        session = processes.together(lambda: _start(options, processes, stack))
        if session is not None:
            train_to_end(session)


def _start(options: TrainOptions, processes: Processes, stack: ExitStack) -> Session | None:
    """Everything before the first step; None after a dry run. `stack` holds what is in use."""
    starts: list[StartingPoint | None] = []

    def read() -> PretrainConfig:
        config, start = load_recipe(options)
        starts.append(start)
        return config

    check_options(options)
    config = read_config(processes, read)
    start = starts[0] if starts else None  # the first process alone reads it
    compute = select_compute(config, processes)
    data = None
    if config.data.directory is not None:
        is_verifying = processes.local_rank == 0  # one process per machine reads it all
        data = open_training_data(config, options.verify_data, is_verifying)
        if start is not None:
            start.new_tokens(data)  # refuses another tokenizer
    refuse_differences(processes, config, compute, data)
    processes.use(compute.device)
    if options.epochs is not None:
        assert data is not None
        steps = steps_of_epochs(config, data, options.epochs)
        config = with_options(config, {"run.num_steps": steps}, f"--epochs {options.epochs:g}")
    vocab_size = processes.from_first(lambda: vocab_size_of(data, start))
    _, num_parameters = count_model_parameters(config, vocab_size)
    config = fit_micro_batch(config, num_parameters, compute, processes)
    probes = None if data is None else open_probes(config, data)
    size = measure_run(config, vocab_size, data)
    probing = None if probes is None else describe_probes(config, size, vocab_size, probes)
    rates = processes.gather(lambda: measure_flops_per_second(config, vocab_size, data, compute))
    rate = None if None in rates else sum(each or 0.0 for each in rates)
    network = processes.measure_reduction(num_parameters, compute.device)
    plan = make_plan(config, size, compute, rate, probing, processes, network)
    unknown = None if data is None else data.manifest.report.worst_unknown_fraction
    warnings = [*warnings_before_training(config, plan.total_tokens, size.num_epochs, unknown)]
    if options.as_json:
        console.result_json({**asdict(plan), "warnings": [each.problem for each in warnings]})
        return None
    show_plan(plan)
    hint_at_graphs(config, vocab_size, compute, processes)
    if options.dry_run:
        warn_about(None, 0, warnings)
        end_dry_run("train", options.root, plan.seconds, options.max_minutes)
        return None
    assert data is not None
    run = _create_run(options, config, compute, processes)
    if processes.is_first:
        stack.enter_context(hold_run(run))
    stack.enter_context(explain_out_of_memory(run, config))
    session = open_session(run, config, data, compute, probes=probes, processes=processes)
    begin_run(session, start)
    if processes.is_first:
        warn_about(run, 0, warnings)
    return session


def _create_run(
    options: TrainOptions, config: PretrainConfig, compute: Compute, processes: Processes
) -> RunDirectory:
    is_default = options.run_name is None
    name = options.run_name or f"{Path(options.preset).stem}-{datetime.now():%Y-%m-%d-%H%M%S}"

    def create() -> str:
        run = create_run(RUNS_FOLDER / name, config, compute, is_default, processes)
        return str(run.root)

    run = RunDirectory(Path(processes.from_first(create)))
    processes.watch.go_on = f"go on with: electra resume {as_argument(run.root)}"
    return run
