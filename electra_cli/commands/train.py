"""`electra train`: a new run."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from electra_cli import console
from electra_cli.commands.processes import meet_processes
from electra_cli.config import DataConfig, PretrainConfig
from electra_cli.data.prepared import (
    PreparedData,
    find_data,
    open_training_data,
    prepared_folders,
)
from electra_cli.disk import as_argument
from electra_cli.errors import ConfigError
from electra_cli.finetuning.probe_files import describe_probes, open_probes, with_whole_paths
from electra_cli.locks import hold_run
from electra_cli.presets import load_preset, with_options, written_value
from electra_cli.run_directory import RUNS_FOLDER, RunDirectory
from electra_cli.runs.agreement import read_config, refuse_differences
from electra_cli.runs.fitting import fit_sizes
from electra_cli.runs.health import warnings_before_training
from electra_cli.runs.loop import train_to_end, warn_about
from electra_cli.runs.micro_batch import fit_micro_batch
from electra_cli.runs.out_of_memory import explain_out_of_memory
from electra_cli.runs.plan import make_plan, measure_run, show_plan, steps_of_epochs
from electra_cli.runs.session import Session, count_model_parameters, create_run, open_session
from electra_cli.runs.starting import (
    StartingPoint,
    begin_run,
    checkpoint_of,
    open_starting_point,
)
from electra_cli.runs.step_timing import measure_flops_per_second
from electra_cli.runs.trackers import require_trackers
from electra_cli.training.device import Compute, select_compute
from electra_cli.training.processes import Processes

# Without data the plan assumes the authors' vocabulary.
_USUAL_VOCABULARY = 30_522
_SOURCES = ("model.init_from", "model.generator_from")


@dataclass(frozen=True)
class TrainOptions:
    """What `electra train` was asked for; `options` maps section.key to a value."""

    preset: str
    options: Mapping[str, Any]
    assignments: tuple[str, ...]
    epochs: float | None
    run_name: str | None
    dry_run: bool
    as_json: bool
    verify_data: bool
    init_step: int | None = None  # of the run that model.init_from names

    @property
    def chosen(self) -> set[str]:
        """The options that the command line names."""
        return {*self.options, *self._assigned}

    @property
    def num_heads(self) -> int | None:
        """model.num_attention_heads, if the command line names it and it is a number."""
        heads = self._assigned.get("model.num_attention_heads", "").strip()
        return int(heads) if heads.isdecimal() and int(heads) else None

    @property
    def _assigned(self) -> dict[str, str]:
        parts = (assignment.partition("=") for assignment in self.assignments)
        return {name.strip(): value for name, _, value in parts}


def train(options: TrainOptions) -> None:
    """Pre-train in a new run folder."""
    with meet_processes() as processes, ExitStack() as stack:
        session = processes.together(lambda: _start(options, processes, stack))
        if session is not None:
            train_to_end(session)


def _start(options: TrainOptions, processes: Processes, stack: ExitStack) -> Session | None:
    """Everything before the first step; None after a dry run. `stack` holds what is in use."""
    if options.as_json and not options.dry_run:
        raise ConfigError(
            "--json prints the plan, which needs --dry-run",
            hint="of a run that trains, electra status --json prints the state",
        )
    starts: list[StartingPoint | None] = []

    def read() -> PretrainConfig:
        config, start = _load_recipe(options)
        starts.append(start)
        return config

    _check_epochs(options)
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
    vocab_size = processes.from_first(lambda: _vocab_size(data, start))
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
    warnings = list(warnings_before_training(config, size.num_epochs, unknown))
    if options.as_json:
        console.result_json({**asdict(plan), "warnings": [each.problem for each in warnings]})
        return None
    show_plan(plan)
    if options.dry_run:
        warn_about(None, 0, warnings)
        console.hint("this was a dry run; leave --dry-run out to train")
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


def _vocab_size(data: PreparedData | None, start: StartingPoint | None) -> int:
    if data is not None:
        return data.manifest.vocab_size
    if start is not None and start.main is not None:
        return start.main.vocab_size
    return _USUAL_VOCABULARY


def _create_run(
    options: TrainOptions, config: PretrainConfig, compute: Compute, processes: Processes
) -> RunDirectory:
    name = options.run_name or f"{Path(options.preset).stem}-{datetime.now():%Y-%m-%d-%H%M%S}"
    is_default = not options.run_name

    def create() -> str:
        run = create_run(RUNS_FOLDER / name, config, compute, is_default, processes)
        return str(run.root)

    run = RunDirectory(Path(processes.from_first(create)))
    processes.watch.go_on = f"go on with: electra resume {as_argument(run.root)}"
    return run


def _load_recipe(options: TrainOptions) -> tuple[PretrainConfig, StartingPoint | None]:
    """The settings, and the trained networks to start from, whose sizes they have."""
    written = (options.preset, options.options, options.assignments)
    sources = {name: written_value(*written, name) for name in _SOURCES}
    if options.init_step is not None and not sources[_SOURCES[0]]:
        raise ConfigError(
            f"--step {options.init_step} chooses a checkpoint of what --init-from names",
            hint="did you mean --steps?",
        )
    steps = (options.init_step, None)
    sources = {
        name: checkpoint_of(str(value), step)
        for (name, value), step in zip(sources.items(), steps, strict=True)
        if value is not None
    }
    init_from, generator_from = (sources.get(name) for name in _SOURCES)
    start = open_starting_point(init_from, generator_from, options.num_heads)
    usual = {}
    if start is not None:
        length = written_value(*written, "data.max_seq_length")
        usual = start.usual_options(DataConfig().max_seq_length if length is None else length)
    config = load_preset(options.preset, {**usual, **options.options}, options.assignments)
    config = with_options(with_whole_paths(config), sources, "--init-from")
    if start is not None:
        config = fit_sizes(config, start, options.chosen)
    require_trackers(config.run.report_to)
    # A dry run needs data for epochs only; any other run does.
    is_bare = options.dry_run and options.epochs is None and config.data.directory is None
    if not is_bare or prepared_folders():
        config = config.with_directory(find_data(config.data.directory).resolve())
    return config, start


def _check_epochs(options: TrainOptions) -> None:
    """Raise ConfigError for epochs that are no number of passes, or beside a number of steps."""
    if options.epochs is None:
        return
    if "run.num_steps" in options.chosen:
        raise ConfigError(
            "--epochs and --steps (run.num_steps) both say how long to train",
            hint="leave one of them out",
        )
    if not 0 < options.epochs < float("inf"):
        raise ConfigError(
            f"--epochs {options.epochs:g} is not a number of passes over the text",
            hint="a number above 0, such as 3 or 0.5",
        )
