"""The loop of one process over the trials of a study, which other processes may work on, too."""

from contextlib import ExitStack

from optuna.trial import Trial, TrialState

from electra_cli import console
from electra_cli.errors import RunError
from electra_cli.live import live_table
from electra_cli.stopping import pause, stop_request
from electra_cli.tuning.messages import describe_trial, reason_to_wait
from electra_cli.tuning.report import table_of_trials, title_of
from electra_cli.tuning.search import Search
from electra_cli.tuning.storage import GRACE_SECONDS, RETRY_OF, retry_trial
from electra_cli.tuning.study import (
    FAILURE_REASON,
    fail_dead_trials,
    num_finished,
    preset_trial,
    was_interrupted,
)
from electra_cli.tuning.trial import TrialFailed, TrialSkipped, run_trial

_POLL_SECONDS = 1.0


def run_trials(search: Search) -> None:
    """Run trials until the study has enough of them; wait where others run what is missing.

    Raises KeyboardInterrupt after a stop request.
    """
    last_reason = None
    with stop_request() as stop, live_table() as board:
        while True:
            stop.raise_if_requested()
            fail_dead_trials(search.study, search.folder, search.ownerless_since)
            _stop_if_preset_failed(search)
            if num_finished(search.study) >= search.num_trials:
                return
            if search.has_yardstick:
                search.open_yardstick()  # or say now what is wrong with it
            board.show(title_of(search), *table_of_trials(search))
            reason = reason_to_wait(search)
            if reason is None:
                _run_one(search)
            else:
                if reason != last_reason:
                    console.talk(reason)
                pause(_POLL_SECONDS, stop)
            last_reason = reason


def _stop_if_preset_failed(search: Search) -> None:
    preset = preset_trial(search.study)
    if preset is not None and preset.state == TrialState.FAIL:
        reason = preset.user_attrs[FAILURE_REASON]
        raise RunError(
            f"trial {preset.number}, the preset unchanged, failed: {reason}",
            hint="its generator makes the text that all trials are scored on: fix the preset, and "
            "choose another --study",
        )


def _run_one(search: Search) -> None:
    """Run one trial; if anything interrupts it, its settings are queued again."""
    started: list[int] = []
    with ExitStack() as trial_lock:

        def objective(trial: Trial) -> float:
            started.append(trial.number)
            return run_trial(search, trial, trial_lock)

        try:
            search.study.optimize(objective, n_trials=1, catch=(TrialFailed, TrialSkipped))
        except BaseException as error:
            if not _is_retried(search, started):
                by_user = isinstance(error, KeyboardInterrupt)
                for number in started:
                    _queue_again(search, number, by_user)
                raise
            # Optuna has several kinds of error for a trial that has ended meanwhile.
            if not isinstance(error, Exception):
                raise
            console.warn(
                f"trial {started[0]} looked dead to another process and is tried again",
                f"was this process stopped for more than {GRACE_SECONDS // 60} min?",
            )
            return
    (number,) = started
    trial = search.study.get_trials()[number]
    if not was_interrupted(trial):
        search.drop_checkpoints(number)
        console.talk(describe_trial(search, trial))


def _is_retried(search: Search, numbers: list[int]) -> bool:
    """Whether another process has failed one of these trials and queued its settings again."""
    trials = search.study.get_trials(deepcopy=False)
    return any(trial.user_attrs.get(RETRY_OF) in numbers for trial in trials)


def _queue_again(search: Search, number: int, by_user: bool) -> None:
    trial = search.study.get_trials()[number]
    if was_interrupted(trial):
        search.drop_checkpoints(number)
        retry_trial(search.study, trial, by_user)
