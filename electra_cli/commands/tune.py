"""`electra tune`: search hyperparameters; every trial is a run, and the study goes on."""

import re
import shlex
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import FrozenTrial, Trial, TrialState

from electra_cli import console
from electra_cli.data.prepared import find_data, open_data
from electra_cli.errors import ConfigError, DataError, RunError
from electra_cli.presets import load_preset, load_tune_section
from electra_cli.runs.micro_batch import fit_micro_batch
from electra_cli.runs.plan import format_duration, measure_run
from electra_cli.runs.session import count_model_parameters, held_out_batches
from electra_cli.training.device import select_compute
from electra_cli.tuning.metric import select_metric
from electra_cli.tuning.report import (
    BEST_NAME,
    PAGE_NAME,
    TABLE_NAME,
    count_states,
    state_of,
    table_of_trials,
    write_reports,
)
from electra_cli.tuning.search import Search
from electra_cli.tuning.space import (
    WARMUP_FRACTION,
    apply_values,
    parse_space,
    value_of,
)
from electra_cli.tuning.storage import (
    GRACE_SECONDS,
    IS_PRESET,
    RETRY_OF,
    open_storage,
    retry_trial,
    shown_storage,
    storage_errors,
)
from electra_cli.tuning.study import (
    PRUNERS,
    REASON,
    counted_trials,
    fail_dead_trials,
    identity_of,
    is_broken,
    locked,
    open_study,
    preset_trial,
)
from electra_cli.tuning.trial import TrialFailed, Withdrawn, run_trial

TUNE_FOLDER = Path("tune")
_PLAIN_NAME = re.compile(r"\w[\w.+-]*")
_POLL_SECONDS = 1.0


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
    with locked(folder), storage_errors(storage):
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
    compute = select_compute(preset)
    _, num_parameters = count_model_parameters(preset, data.manifest.vocab_size)
    fitted = fit_micro_batch(preset, num_parameters, compute)
    held_out = held_out_batches(fitted, data)
    search = Search(
        study, folder, options.trials, preset, space, options.metric, metric, data, held_out
    )
    _introduce(search, storage)
    with storage_errors(storage):
        try:
            _search(search)
        except KeyboardInterrupt:
            _write_reports(search)
            console.hint("the study goes on with the same command")
            raise
        _conclude(search, options)


def _introduce(search: Search, storage: str) -> None:
    """What is searched, from where, and what it may cost."""
    preset, data = search.preset, search.data
    size = measure_run(preset, data.manifest.vocab_size, data)
    rows = [(p.name, _shown(value_of(preset, p.name)), str(p)) for p in search.space.parameters]
    console.table("search space", ("parameter", "preset", "from"), rows)
    for name, reason in search.space.left_out.items():
        console.talk(f"{name} is left out: {reason}")
    done = sum(t.state.is_finished() for t in counted_trials(search.study))
    console.talk(
        f"study {search.study.study_name} in {shown_storage(storage)}: {done} of "
        f"{search.num_trials} trials done; each may spend {size.total_flops:.3g} training FLOPs, "
        f"{preset.run.num_steps:,} steps of the preset"
    )


def _search(search: Search) -> None:
    """Run trials until the study has enough of them; wait where others run what is missing."""
    said = ""
    with console.board() as board:
        while True:
            fail_dead_trials(search.study, search.folder, search.unclaimed)
            _stop_if_preset_failed(search)
            trials = counted_trials(search.study)
            if sum(t.state.is_finished() for t in trials) >= search.num_trials:
                return
            if search.has_yardstick:
                search.open_yardstick()  # or say now what is wrong with it
            board.show(_title(search), *table_of_trials(search))
            obstacle = _obstacle(search, trials)
            if obstacle is None:
                _run_one(search)
            elif obstacle != said:
                console.talk(obstacle)
            said = obstacle or ""
            if obstacle is not None:
                time.sleep(_POLL_SECONDS)


def _obstacle(search: Search, trials: list[FrozenTrial]) -> str | None:
    """Why no trial can be begun now."""
    running = [t for t in trials if t.state == TrialState.RUNNING]
    dead = f"a dead one is noticed after {GRACE_SECONDS // 60} min"
    own = preset_trial(search.study)
    if own is None and not search.has_yardstick:
        return "waiting for the preset, which was broken off: start electra tune again to retry it"
    if own in running and not search.has_yardstick:
        return (
            f"waiting for trial {own.number}, the preset, in another process: all trials are "
            f"scored on text that its generator corrupts ({dead})"
        )
    is_queued = any(t.state == TrialState.WAITING for t in trials)
    if len(trials) >= search.num_trials and not is_queued:
        numbers = ", ".join(str(t.number) for t in running)
        return f"waiting for trials {numbers} in other processes ({dead})"
    return None


def _stop_if_preset_failed(search: Search) -> None:
    own = preset_trial(search.study)
    if own is not None and own.state == TrialState.FAIL:
        raise RunError(
            f"trial {own.number}, the preset unchanged, failed: {own.user_attrs[REASON]}",
            hint="its generator makes the text that all trials are scored on: mend the preset, and "
            "choose another --study",
        )


def _run_one(search: Search) -> None:
    """One trial; whatever breaks it off, its settings are queued again."""
    begun: list[int] = []
    with ExitStack() as until_told:

        def objective(trial: Trial) -> float:
            begun.append(trial.number)
            return run_trial(search, trial, until_told)

        try:
            search.study.optimize(objective, n_trials=1, catch=(TrialFailed, Withdrawn))
        except BaseException as error:
            was_taken = _was_taken(search, begun)
            # Optuna has several kinds of error for a trial that has ended meanwhile.
            if was_taken and isinstance(error, Exception):
                console.warn(
                    f"trial {begun[0]} was taken for dead, and is tried again",
                    f"was this process stopped for more than {GRACE_SECONDS // 60} min?",
                )
                return
            for trial in (search.study.get_trials()[number] for number in begun):
                if is_broken(trial) and not was_taken:
                    search.drop_checkpoints(trial.number)
                    by_hand = isinstance(error, KeyboardInterrupt)
                    retry_trial(search.study, trial, by_hand)
            raise
    (number,) = begun
    trial = search.study.get_trials()[number]
    if not is_broken(trial):
        search.drop_checkpoints(number)
        console.talk(_describe(search, trial))


def _was_taken(search: Search, begun: list[int]) -> bool:
    """Whether the trial was failed by another process, which queued its settings."""
    return any(t.user_attrs.get(RETRY_OF) in begun for t in search.study.get_trials(deepcopy=False))


def _describe(search: Search, trial: FrozenTrial) -> str:
    """One line about a trial that has just ended."""
    trials = counted_trials(search.study)
    finished = [t for t in trials if t.state.is_finished()]
    num_workers = 1 + sum(t.state == TrialState.RUNNING for t in trials)
    state = state_of(trial)
    what = trial.user_attrs.get(REASON) or f"{search.metric_name} {_shown(trial.value)}"
    seconds = [t.duration.total_seconds() for t in finished if t.duration is not None]
    left = (search.num_trials - len(finished)) * sum(seconds) / len(seconds) / num_workers
    later = f" · about {format_duration(left)} left" * (left > 0)
    return f"trial {trial.number} {state}: {what} · {len(finished)} of {search.num_trials}{later}"


def _title(search: Search) -> str:
    return f"best trials of {search.study.study_name} ({count_states(search)})"


def _write_reports(search: Search) -> FrozenTrial | None:
    with locked(search.folder):
        return write_reports(search)


def _conclude(search: Search, options: TuneOptions) -> None:
    """Write the reports, and say what was best."""
    best = _write_reports(search)
    if best is None:
        raise RunError(
            f"no trial of {search.study.study_name} was completed",
            hint=f"see why in {search.folder / TABLE_NAME}",
        )
    console.table(_title(search), *table_of_trials(search))
    own = search.preset_value()
    if best.user_attrs.get(IS_PRESET):
        console.talk(f"no trial beats the preset: {BEST_NAME} is the preset")
    elif own is not None:
        console.talk(
            f"trial {best.number} is the best: {search.metric_name} {_shown(best.value)}, the "
            f"preset {_shown(own)} for the same FLOPs; one seed each"
        )
    path = search.folder / BEST_NAME
    console.result(path)
    console.talk(f"all trials: {search.folder / PAGE_NAME}, {search.folder / TABLE_NAME}")
    named = options.data or search.preset.data.directory
    data = "" if named is None else f" --data {shlex.quote(str(named))}"
    preset = shlex.quote(str(path))
    console.hint(f"train with the best settings: electra train --preset {preset}{data}")


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
