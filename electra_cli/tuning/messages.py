"""What `electra tune` says on the terminal: settings, progress, best trials."""

from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from electra_cli import console
from electra_cli.console import format_duration, format_value
from electra_cli.disk import as_argument
from electra_cli.errors import RunError
from electra_cli.runs.plan import measure_run
from electra_cli.tuning.report import (
    BEST_NAME,
    PAGE_NAME,
    TABLE_NAME,
    state_of,
    table_of_trials,
    title_of,
)
from electra_cli.tuning.search import Search
from electra_cli.tuning.space import value_of
from electra_cli.tuning.storage import GRACE_SECONDS, IS_PRESET, without_password
from electra_cli.tuning.study import FAILURE_REASON, counted_trials, num_finished, preset_trial

_UNTIL_NOTICED = f"a dead process is noticed after {GRACE_SECONDS // 60} min"


def introduce(search: Search, storage: str) -> None:
    """Say what is searched, where the study is kept, and what each trial may cost."""
    preset, data = search.preset, search.data
    size = measure_run(preset, data.manifest.vocab_size, data)
    rows = [
        (p.name, format_value(value_of(preset, p.name)), str(p)) for p in search.space.parameters
    ]
    console.table("search space", ("parameter", "preset", "from"), rows)
    for name, reason in search.space.left_out.items():
        console.talk(f"{name} is left out: {reason}")
    console.talk(
        f"study {search.study.study_name} in {without_password(storage)}: "
        f"{num_finished(search.study)} of {search.num_trials} trials done; each may spend "
        f"{size.total_flops:.3g} training FLOPs, {preset.run.num_steps:,} steps of the preset"
    )


def describe_trial(search: Search, trial: FrozenTrial) -> str:
    """One line about a trial that has just ended."""
    trials = counted_trials(search.study)
    finished = [t for t in trials if t.state.is_finished()]
    outcome = trial.user_attrs.get(FAILURE_REASON)
    if outcome is None:
        outcome = f"{search.metric.name} {format_value(trial.value)}"
    parts = [
        f"trial {trial.number} {state_of(trial)}: {outcome}",
        f"{len(finished)} of {search.num_trials}",
    ]
    seconds = [t.duration.total_seconds() for t in finished if t.duration is not None]
    num_workers = 1 + sum(t.state == TrialState.RUNNING for t in trials)
    left = (search.num_trials - len(finished)) * sum(seconds) / len(seconds) / num_workers
    if left > 0:
        parts.append(f"about {format_duration(left)} left")
    return " · ".join(parts)


def reason_to_wait(search: Search) -> str | None:
    """Why no trial can be started now; None if one can."""
    trials = counted_trials(search.study)
    running = [t for t in trials if t.state == TrialState.RUNNING]
    preset = preset_trial(search.study)
    if preset is None and not search.has_yardstick:
        return "waiting: the preset's trial was interrupted; run electra tune again to retry it"
    if preset in running and not search.has_yardstick:
        return (
            f"waiting for trial {preset.number}, the preset, in another process: all trials are "
            f"scored on text that its generator corrupts ({_UNTIL_NOTICED})"
        )
    is_queued = any(t.state == TrialState.WAITING for t in trials)
    if len(trials) >= search.num_trials and not is_queued:
        numbers = ", ".join(str(t.number) for t in running)
        return f"waiting for trials {numbers} in other processes ({_UNTIL_NOTICED})"
    return None


def say_what_was_best(search: Search, best: FrozenTrial | None, data: Path | None) -> None:
    """Show the best trials, and how to train with the settings of the best (on `data`).

    Raises RunError without a complete trial.
    """
    if best is None:
        raise RunError(
            f"no trial of {search.study.study_name} was completed",
            hint=f"see why in {search.folder / TABLE_NAME}",
        )
    console.table(title_of(search), *table_of_trials(search))
    preset_value = search.preset_value()
    if best.user_attrs.get(IS_PRESET):
        console.talk(f"no trial beats the preset: {BEST_NAME} is the preset")
    elif preset_value is not None:
        console.talk(
            f"trial {best.number} is the best: {search.metric.name} {format_value(best.value)}, "
            f"the preset {format_value(preset_value)} for the same FLOPs; one seed each"
        )
    console.talk(f"all trials: {search.folder / PAGE_NAME}, {search.folder / TABLE_NAME}")
    command = f"electra train --preset {as_argument(search.folder / BEST_NAME)}"
    directory = data or search.preset.data.directory
    if directory is not None:
        command += f" --data {as_argument(directory)}"
    console.hint(f"train with the best settings: {command}")
