"""The Optuna study of a search: its shared settings, which trials count, which processes live.

Several processes may work on one study, on one machine or on many; any may be killed at any time.
"""

import hashlib
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from electra_cli.config import PretrainConfig
from electra_cli.data.prepared import PreparedData
from electra_cli.errors import ConfigError, RunError
from electra_cli.locks import try_to_hold, wait_for
from electra_cli.run_directory import RunDirectory
from electra_cli.tuning.space import SearchSpace
from electra_cli.tuning.storage import GRACE_SECONDS, IS_PRESET, retry_trial

_PLAIN_NAME = re.compile(r"\w[\w.+-]*")
# Trials report at 1/9, 2/9 ... of their FLOPs. Hyperband, which keeps a third at each rung, may
# stop them at 1/9 and 1/3: before that a run has learned little beyond how frequent each token is.
NUM_SHARES = 9
_REDUCTION_FACTOR = 3
# Trials that are drawn at random before the sampler learns. Optuna's default, 10, is too many for a
# search of a few tens.
_STARTUP_TRIALS = 6
_STARTUP_TRIALS_OF_MEDIAN = 4

# Attributes of studies and trials, by their names in the storage.
_SHARED_SETTINGS = "identity"
FAILURE_REASON = "reason"  # why a trial's settings made it fail
HOST, PID = "host", "pid"  # where a trial runs
_SHOWN_DIFFERENCES = 3
_OF_THE_MACHINE = ("data.directory", "run.device")  # may differ from one to the next
_LOCK_NAME = ".lock"  # in the folder of a study


class StudySampler(BaseSampler):
    """TPE whose draws are a function of (seed, trial number, trials so far).

    A sampler with one stream of random numbers would repeat its first draws in each process and
    after each kill. This one learns from all trials of the study: Hyperband would show it those of
    one bracket only, too few to learn from in a search of a few tens.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.study: optuna.Study | None = None
        self._tpe = TPESampler(seed=seed)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """A sampler of this trial's own, and the parameters that it draws together."""
        (word,) = np.random.SeedSequence([self._seed, trial.number]).generate_state(1)
        self._tpe = TPESampler(seed=int(word), n_startup_trials=_STARTUP_TRIALS)
        return self._tpe.infer_relative_search_space(self.study or study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values of these parameters, drawn together."""
        return self._tpe.sample_relative(self.study or study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Any:
        """The value of one parameter, drawn alone."""
        return self._tpe.sample_independent(self.study or study, trial, name, distribution)


PRUNERS = ("hyperband", "median", "none")


def study_name(chosen: str | None, preset: str) -> str:
    """The name that was chosen, or the preset's. Raises ConfigError for one that is not plain."""
    name = chosen or Path(preset).stem
    if not _PLAIN_NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is not a plain name for a study",
            hint="--study: letters, digits, - + _ and .",
        )
    return name


def build_pruner(name: str) -> BasePruner:
    """The pruner of that name, for reports at 1 to NUM_SHARES."""
    if name == "hyperband":
        return HyperbandPruner(1, NUM_SHARES, _REDUCTION_FACTOR)
    return (
        MedianPruner(n_startup_trials=_STARTUP_TRIALS_OF_MEDIAN)
        if name == "median"
        else NopPruner()
    )


def shared_settings(
    preset: PretrainConfig, space: SearchSpace, metric: str, data: PreparedData
) -> dict[str, Any]:
    """What all trials of a study share, as flat JSON: data, preset, space and metric.

    Studies have recorded it by these keys since version 0.1.0.
    """
    content = [data.manifest.tokenizer_sha256, *(shard.sha256 for shard in data.manifest.shards)]
    if data.older is not None:
        content.append(data.older.sha256)
    facts: dict[str, Any] = {"data": hashlib.sha256(" ".join(content).encode()).hexdigest()[:16]}
    facts |= preset.as_json()
    for name in _OF_THE_MACHINE:
        del facts[name]
    space_facts = {f"tune.{name}": entry for name, entry in space.as_json().items()}
    return {**facts, **space_facts, "metric": metric}


def open_study(
    name: str,
    storage: BaseStorage,
    settings: Mapping[str, Any],
    direction: Literal["minimize", "maximize"],
    pruner: str,
    seed: int,
    folder: Path,
) -> optuna.Study:
    """Create the study or go on with it; `settings` are those that all its trials share.

    Raises RunError if it was made with others, or if `folder` holds trials of a lost study.
    """
    sampler = StudySampler(seed)
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        sampler=sampler,
        pruner=build_pruner(pruner),
        direction=direction,
        load_if_exists=True,
    )
    sampler.study = study
    known = study.user_attrs.get(_SHARED_SETTINGS)
    if known is None:
        if any(folder.glob("trial-*")):
            raise RunError(
                f"{folder} holds trials of a study that --storage does not have",
                hint="name the --storage that it was made with, or choose another --study",
            )
        study.set_user_attr(_SHARED_SETTINGS, dict(settings))
    elif differences := _differences(known, settings):
        raise RunError(
            f"study {name} was made with {differences}",
            hint="choose another --study, or go back to what it was made with",
        )
    return study


def _differences(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """`a 1, not 2; b 3, not 4`: the first few differences; empty if there are none."""
    known = {**PretrainConfig().as_json(), **known}  # options may be newer than the study
    for name in _OF_THE_MACHINE:
        del known[name]
    names = [name for name in {**wanted, **known} if known.get(name) != wanted.get(name)]
    parts = [f"{n} {known.get(n)}, not {wanted.get(n)}" for n in names[:_SHOWN_DIFFERENCES]]
    text = "; ".join(parts)
    num_hidden = len(names) - len(parts)
    return f"{text} and {num_hidden} more" if num_hidden else text


def counted_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that count towards --trials: all but the interrupted ones, which are tried again."""
    return [t for t in study.get_trials(deepcopy=False) if not was_interrupted(t)]


def was_interrupted(trial: FrozenTrial) -> bool:
    """Whether its process stopped or skipped it, so that its settings are not the cause."""
    return trial.state == TrialState.FAIL and FAILURE_REASON not in trial.user_attrs


def num_finished(study: optuna.Study) -> int:
    """How many trials have ended: complete, pruned or failed."""
    return sum(trial.state.is_finished() for trial in counted_trials(study))


def preset_trial(study: optuna.Study) -> FrozenTrial | None:
    """The trial that is the preset unchanged, unless it was interrupted."""
    found = [t for t in counted_trials(study) if t.user_attrs.get(IS_PRESET)]
    return found[0] if found else None


def fail_dead_trials(study: optuna.Study, folder: Path, ownerless_since: dict[int, float]) -> None:
    """Fail the trials that dead processes left running, and queue their settings again.

    `ownerless_since` maps trials that have not named their process to when this one first saw them
    (monotonic seconds); the caller keeps it between calls.
    """
    optuna.storages.fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if HOST not in trial.user_attrs:
            # Its process names itself within a moment, or died before its first heartbeat.
            # Measured with our own clock: another machine's may be set to another time zone.
            seen = ownerless_since.setdefault(trial.number, time.monotonic())
            if time.monotonic() - seen > GRACE_SECONDS and _fail(study, trial):
                retry_trial(study, study.get_trials()[trial.number])
            continue
        run = trial_directory(folder, trial.number)
        if trial.user_attrs.get(HOST) != socket.gethostname() or not run.root.is_dir():
            continue  # on another machine, or not started: its heartbeats decide
        with try_to_hold(run.lock) as is_free:
            if is_free and _fail(study, trial):
                retry_trial(study, study.get_trials()[trial.number])


def _fail(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Whether it was still running."""
    try:
        study.tell(trial.number, state=TrialState.FAIL)
    except (ValueError, optuna.exceptions.UpdateFinishedTrialError):  # it has just ended
        return False
    return True


def trial_directory(folder: Path, number: int) -> RunDirectory:
    """A trial's run folder."""
    return RunDirectory(folder / f"trial-{number:04d}")


@contextmanager
def create_locked_run(run: RunDirectory) -> Iterator[None]:
    """Make a run's folder and hold its lock; leaving the context frees the lock."""
    partial = RunDirectory(run.root.with_name(f".{run.root.name}.partial"))
    partial.root.mkdir(parents=True, exist_ok=True)
    with wait_for(partial.lock):
        partial.root.rename(run.root)  # only now, so that nobody sees it unlocked
        yield


def wait_for_folder(folder: Path) -> AbstractContextManager[object]:
    """One process at a time opens a study and writes its reports; the others wait."""
    return wait_for(folder / _LOCK_NAME)
