"""`electra tune`: search hyperparameters; every trial is a run, and the study goes on."""

from dataclasses import dataclass, replace
from pathlib import Path

from electra_cli import console
from electra_cli.config import PretrainConfig
from electra_cli.data.prepared import PreparedData, find_data, open_training_data
from electra_cli.errors import ConfigError, DataError
from electra_cli.finetuning.probe_files import open_probes
from electra_cli.presets import load_preset, load_tune_section
from electra_cli.runs.trackers import require_trackers
from electra_cli.tuning.messages import introduce, say_what_was_best
from electra_cli.tuning.metric import select_metric
from electra_cli.tuning.report import BEST_NAME, as_json, write_reports
from electra_cli.tuning.search import open_search
from electra_cli.tuning.space import WARMUP_FRACTION, apply_values, parse_space
from electra_cli.tuning.storage import storage_errors
from electra_cli.tuning.study import PRUNERS, study_name
from electra_cli.tuning.worker import run_trials

TUNE_FOLDER = Path("tune")


@dataclass(frozen=True)
class TuneOptions:
    """What `electra tune` was asked for."""

    preset: str
    data: Path | None
    trials: int
    steps: int | None
    study: str | None
    storage: str | None
    metric: str
    pruner: str
    verify_data: bool
    as_json: bool


def tune(options: TuneOptions) -> None:
    """Search until the study has its trials, then say what was best."""
    preset = load_preset(options.preset)
    if preset.model.starts_trained:
        raise ConfigError(
            f"{options.preset} starts from trained weights, and trials start from random ones",
            hint="leave model.init_from and model.generator_from out of the preset",
        )
    section = load_tune_section(options.preset, (WARMUP_FRACTION,))
    if options.steps is not None:
        preset = apply_values(preset, {}, options.steps)
    space = parse_space(section, preset)
    metric = select_metric(options.metric, space.names)
    _check(options, preset)
    require_trackers(preset.run.report_to)
    data = _open_data(options, preset)
    probes = open_probes(preset, data)
    metric.check_probes(probes)
    name = study_name(options.study, options.preset)
    storage = options.storage or f"sqlite:///{TUNE_FOLDER / name}.db"
    with storage_errors(storage):
        search = open_search(
            name=name,
            storage=storage,
            folder=TUNE_FOLDER / name,
            num_trials=options.trials,
            preset=preset,
            space=space,
            metric=metric,
            pruner=options.pruner,
            data=data,
            probes=probes and replace(probes, every=1),  # at each evaluation
        )
        introduce(search, storage)
        try:
            run_trials(search)
        except KeyboardInterrupt:
            write_reports(search)
            console.hint("the study goes on with the same command")
            raise
        say_what_was_best(search, write_reports(search), options.data)
        if options.as_json:
            console.result_json(as_json(search))
        else:
            console.result(search.folder / BEST_NAME)


def _check(options: TuneOptions, preset: PretrainConfig) -> None:
    if preset.objective.name != "electra":
        raise ConfigError(
            "trials are ranked by a discriminator that judges every token; objective.name "
            f"{preset.objective.name} trains none",
            hint="search with objective.name electra, and train with the settings found",
        )
    if options.pruner not in PRUNERS:
        raise ConfigError(
            f"there is no pruner {options.pruner!r}", hint=f"--pruner: {', '.join(PRUNERS)}"
        )


def _open_data(options: TuneOptions, preset: PretrainConfig) -> PreparedData:
    directory = find_data(options.data or preset.data.directory).resolve()
    data = open_training_data(preset.with_directory(directory), options.verify_data)
    if not data.manifest.num_validation_tokens:
        raise DataError(
            f"{data.directory} holds no document back, so trials cannot be ranked",
            hint="prepare more text, or a larger --validation-fraction",
        )
    return data
