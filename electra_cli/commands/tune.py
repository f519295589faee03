"""`electra tune`: search hyperparameters; every trial is a run, and the study goes on."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import FrozenTrial

from electra_cli import console
from electra_cli.data.batches import evaluation_batches
from electra_cli.data.prepared import find_data, open_data
from electra_cli.errors import ConfigError, DataError, RunError
from electra_cli.presets import load_preset, load_tune_section
from electra_cli.runs.micro_batch import fit_micro_batch
from electra_cli.runs.plan import measure_run
from electra_cli.runs.session import count_model_parameters, select_arithmetic
from electra_cli.tuning.metric import select_metric
from electra_cli.tuning.report import (
    BEST_NAME,
    PAGE_NAME,
    TABLE_NAME,
    table_of_trials,
    title_of,
    write_reports,
)
from electra_cli.tuning.search import Search
from electra_cli.tuning.space import (
    WARMUP_FRACTION,
    apply_values,
    parse_space,
    shown,
    value_of,
)
from electra_cli.tuning.storage import (
    IS_PRESET,
    open_storage,
    shown_storage,
    storage_errors,
)
from electra_cli.tuning.study import (
    PRUNERS,
    counted_trials,
    identity_of,
    open_study,
    preset_trial,
    wait_for_folder,
)
from electra_cli.tuning.worker import run_trials

TUNE_FOLDER = Path("tune")
_PLAIN_NAME = re.compile(r"\w[\w.+-]*")


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


def tune(options: TuneOptions) -> None:
    """Search until the study has its trials, then say what was best."""
    preset = load_preset(options.preset)
    section = load_tune_section(options.preset, (WARMUP_FRACTION,))
    if options.steps is not None:
        preset = apply_values(preset, {}, options.steps)
    space = parse_space(section, preset)
    metric = select_metric(options.metric, space.names)
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
    data = open_data(find_data(options.data or preset.data.directory).resolve())
    if not data.manifest.num_validation_tokens:
        raise DataError(
            f"{data.directory} holds no document back, so trials cannot be ranked",
            hint="prepare more text, or a larger --validation-fraction",
        )
    name = options.study or Path(options.preset).stem
    if not _PLAIN_NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is no plain name of a study", hint="--study: letters, digits, - + _ and ."
        )
    folder = TUNE_FOLDER / name
    storage = options.storage or f"sqlite:///{TUNE_FOLDER / name}.db"
    folder.mkdir(parents=True, exist_ok=True)
    with wait_for_folder(folder), storage_errors(storage):
        study = open_study(
            name,
            open_storage(storage),
            identity_of(preset, space, options.metric, data),
            metric,
            options.pruner,
            preset.run.seed,
            folder,
        )
        if preset_trial(study) is None:
            values = {n: value_of(preset, n) for n in space.names}
            study.enqueue_trial(values, user_attrs={IS_PRESET: True})
    device, precision = select_arithmetic(preset)
    _, num_parameters = count_model_parameters(preset, data.manifest.vocab_size)
    fitted = fit_micro_batch(preset, num_parameters, device, precision)
    assert fitted.run.micro_batch_size is not None
    held_out = evaluation_batches(
        data.reader("validation", preset), preset.run.num_eval_windows, fitted.run.micro_batch_size
    )
    search = Search(
        study, folder, options.trials, preset, space, options.metric, metric, data, held_out
    )
    _introduce(search, storage)
    with storage_errors(storage):
        try:
            run_trials(search)
        except KeyboardInterrupt:
            _write_reports(search)
            console.hint("the study goes on with the same command")
            raise
        _conclude(search, options)


def _introduce(search: Search, storage: str) -> None:
    """What is searched, from where, and what it may cost."""
    preset, data = search.preset, search.data
    size = measure_run(preset, data.manifest.vocab_size, data)
    rows = [(p.name, shown(value_of(preset, p.name)), str(p)) for p in search.space.parameters]
    console.table("search space", ("parameter", "preset", "from"), rows)
    for name, reason in search.space.left_out.items():
        console.talk(f"{name} is left out: {reason}")
    done = sum(t.state.is_finished() for t in counted_trials(search.study))
    console.talk(
        f"study {search.study.study_name} in {shown_storage(storage)}: {done} of "
        f"{search.num_trials} trials done; each may spend {size.total_flops:.3g} training FLOPs, "
        f"{preset.run.num_steps:,} steps of the preset"
    )


def _write_reports(search: Search) -> FrozenTrial | None:
    with wait_for_folder(search.folder):
        return write_reports(search)


def _conclude(search: Search, options: TuneOptions) -> None:
    """Write the reports, and say what was best."""
    best = _write_reports(search)
    if best is None:
        raise RunError(
            f"no trial of {search.study.study_name} was completed",
            hint=f"see why in {search.folder / TABLE_NAME}",
        )
    console.table(title_of(search), *table_of_trials(search))
    own = search.preset_value()
    if best.user_attrs.get(IS_PRESET):
        console.talk(f"no trial beats the preset: {BEST_NAME} is the preset")
    elif own is not None:
        console.talk(
            f"trial {best.number} is the best: {search.metric_name} {shown(best.value)}, the "
            f"preset {shown(own)} for the same FLOPs; one seed each"
        )
    path = search.folder / BEST_NAME
    console.result(path)
    console.talk(f"all trials: {search.folder / PAGE_NAME}, {search.folder / TABLE_NAME}")
    named = options.data or search.preset.data.directory
    data = "" if named is None else f" --data {shlex.quote(str(named))}"
    preset = shlex.quote(str(path))
    console.hint(f"train with the best settings: electra train --preset {preset}{data}")
