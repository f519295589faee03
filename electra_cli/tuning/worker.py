"""The trials of one process: run until the study has enough, with whoever else works on it."""

import time
from contextlib import ExitStack

from optuna.trial import FrozenTrial, Trial, TrialState

from electra_cli import console
from electra_cli.errors import RunError
from electra_cli.runs.plan import format_duration
from electra_cli.tuning.report import state_of, table_of_trials, title_of
from electra_cli.tuning.search import Search
from electra_cli.tuning.space import shown
from electra_cli.tuning.storage import GRACE_SECONDS, RETRY_OF, retry_trial
from electra_cli.tuning.study import (
    REASON,
    counted_trials,
    fail_dead_trials,
    is_broken,
    preset_trial,
)
from electra_cli.tuning.trial import TrialFailed, Withdrawn, run_trial

_POLL_SECONDS = 1.0


def run_trials(search: Search) -> None:
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
            board.show(title_of(search), *table_of_trials(search))
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
    what = trial.user_attrs.get(REASON) or f"{search.metric_name} {shown(trial.value)}"
    seconds = [t.duration.total_seconds() for t in finished if t.duration is not None]
    left = (search.num_trials - len(finished)) * sum(seconds) / len(seconds) / num_workers
    later = f" · about {format_duration(left)} left" * (left > 0)
    return f"trial {trial.number} {state}: {what} · {len(finished)} of {search.num_trials}{later}"
