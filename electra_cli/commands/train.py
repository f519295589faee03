"""`electra train`: a new run."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from electra_cli import console
from electra_cli.data.prepared import find_data, open_data, prepared_folders
from electra_cli.locks import hold_run
from electra_cli.presets import load_preset
from electra_cli.run_directory import RUNS_FOLDER
from electra_cli.runs.health import warnings_before_training
from electra_cli.runs.loop import train_to_end, warn_about
from electra_cli.runs.micro_batch import fit_micro_batch
from electra_cli.runs.plan import measure_run, show_plan
from electra_cli.runs.records import RunRecords
from electra_cli.runs.session import count_model_parameters, create_run, open_session
from electra_cli.runs.trackers import require_trackers
from electra_cli.training.device import select_compute

# Without data the plan assumes the authors' vocabulary.
_USUAL_VOCABULARY = 30_522


@dataclass(frozen=True)
class TrainOptions:
    """What `electra train` was asked for; `options` maps section.key to a value."""

    preset: str
    options: Mapping[str, Any]
    assignments: tuple[str, ...]
    run_name: str | None
    dry_run: bool


def train(options: TrainOptions) -> None:
    """Pre-train from scratch in a new run folder."""
    config = load_preset(options.preset, options.options, options.assignments)
    compute = select_compute(config)
    require_trackers(config)
    data = None
    # A dry run needs no data; any other run does.
    if not options.dry_run or config.data.directory is not None or prepared_folders():
        directory = find_data(config.data.directory).resolve()
        config = config.with_directory(directory)
        data = open_data(directory)
    vocab_size = _USUAL_VOCABULARY if data is None else data.manifest.vocab_size
    _, num_parameters = count_model_parameters(config, vocab_size)
    config = fit_micro_batch(config, num_parameters, compute)
    size = measure_run(config, vocab_size, data)
    show_plan(config, size, compute)
    unknown = None if data is None else data.manifest.report.unknown_fraction
    warnings = warnings_before_training(config, size.num_epochs, unknown)
    if options.dry_run:
        warn_about(None, 0, warnings)
        console.hint("this was a dry run; leave --dry-run out to train")
        return
    assert data is not None
    name = options.run_name or f"{Path(options.preset).stem}-{datetime.now():%Y-%m-%d-%H%M%S}"
    run = create_run(RUNS_FOLDER / name, config, compute)
    with hold_run(run):
        session = open_session(run, config, data, compute)
        # Before the first step, so that a disk without room for it is found now and not in hours.
        RunRecords(session).save_now()
        warn_about(run, 0, warnings)
        train_to_end(session)
