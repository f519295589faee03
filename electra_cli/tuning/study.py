"""The Optuna study of a search: what it is about, which trials count, and who is alive.

Several processes may work on one study, on one machine or on many; any may be killed at any time.
"""

import hashlib
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from electra_cli.config import PretrainConfig
from electra_cli.data.prepared import PreparedData
from electra_cli.errors import RunError
from electra_cli.locks import try_to_hold, wait_for
from electra_cli.run_directory import RunDirectory
from electra_cli.tuning.metric import Metric
from electra_cli.tuning.space import SearchSpace
from electra_cli.tuning.storage import GRACE_SECONDS, IS_PRESET, retry_trial

# Trials report at 1/9, 2/9 ... of their FLOPs. Hyperband, which keeps a third at each rung, may
# stop them at 1/9 and 1/3: earlier, a run still sits on the plateau of the unigram entropy.
NUM_SHARES = 9
_REDUCTION_FACTOR = 3
# Of Optuna's ten the first trials would be most of a search of some tens.
_STARTUP_TRIALS = 6
_STARTUP_TRIALS_OF_MEDIAN = 4

IDENTITY = "identity"
REASON = "reason"  # why a trial failed by its own fault
HOST, PID = "host", "pid"  # where a trial runs
_SHOWN_DIFFERENCES = 3
_LOCK_NAME = ".lock"  # in the folder of a study


class StudySampler(BaseSampler):
    """TPE whose draws are a function of (seed, trial number, trials so far).

    A sampler with one stream would repeat its first draws in each process and after each kill.
    It learns from all trials: Hyperband would show it those of one bracket only, which of some
    tens of trials leaves nothing to learn from.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.study: optuna.Study | None = None
        self._tpe = TPESampler(seed=seed)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Begin a trial."""
        (word,) = np.random.SeedSequence([self._seed, trial.number]).generate_state(1)
        self._tpe = TPESampler(seed=int(word), n_startup_trials=_STARTUP_TRIALS)
        return self._tpe.infer_relative_search_space(self.study or study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """All parameters at once."""
        return self._tpe.sample_relative(self.study or study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Any:
        """One parameter."""
        return self._tpe.sample_independent(self.study or study, trial, name, distribution)


PRUNERS = ("hyperband", "median", "none")


def build_pruner(name: str) -> BasePruner:
    """The pruner of that name, for reports at 1 to NUM_SHARES."""
    if name == "hyperband":
        return HyperbandPruner(1, NUM_SHARES, _REDUCTION_FACTOR)
    return (
        MedianPruner(n_startup_trials=_STARTUP_TRIALS_OF_MEDIAN)
        if name == "median"
        else NopPruner()
    )


def identity_of(
    preset: PretrainConfig, space: SearchSpace, metric: str, data: PreparedData
) -> dict[str, Any]:
    """What all trials of a study have in common, as flat JSON."""
    content = [data.manifest.tokenizer_sha256, *(shard.sha256 for shard in data.manifest.shards)]
    facts: dict[str, Any] = {"data": hashlib.sha256(" ".join(content).encode()).hexdigest()[:16]}
    for section, options in preset.model_dump(mode="json").items():
        facts |= {f"{section}.{key}": value for key, value in options.items()}
    for elsewhere in ("data.directory", "run.device"):  # may differ from machine to machine
        del facts[elsewhere]
    space_facts = {f"tune.{name}": entry for name, entry in space.as_json().items()}
    return {**facts, **space_facts, "metric": metric}


def open_study(
    name: str,
    storage: BaseStorage,
    identity: Mapping[str, Any],
    metric: Metric,
    pruner: str,
    seed: int,
    folder: Path,
) -> optuna.Study:
    """Create the study or go on with it.

    Raises RunError for a study of something else, or trials in `folder` of a study that is gone.
    """
    sampler = StudySampler(seed)
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        sampler=sampler,
        pruner=build_pruner(pruner),
        direction=metric.direction,
        load_if_exists=True,
    )
    sampler.study = study
    known = study.user_attrs.get(IDENTITY)
    if known is None:
        if any(folder.glob("trial-*")):
            raise RunError(
                f"{folder} holds trials of a study that --storage does not have",
                hint="name the --storage that it was made with, or choose another --study",
            )
        study.set_user_attr(IDENTITY, dict(identity))
    elif differences := _differences(known, identity):
        raise RunError(
            f"study {name} was made with {differences}",
            hint="choose another --study, or go back to what it was made with",
        )
    return study


def _differences(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """`a 1, not 2; b 3, not 4`, the first few; empty if nothing differs."""
    names = [name for name in {**wanted, **known} if known.get(name) != wanted.get(name)]
    parts = [f"{n} {known.get(n)}, not {wanted.get(n)}" for n in names[:_SHOWN_DIFFERENCES]]
    more = f" and {len(names) - _SHOWN_DIFFERENCES} more" * (len(names) > _SHOWN_DIFFERENCES)
    return "; ".join(parts) + more


def counted_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that count towards --trials: not those that were broken off and are tried again."""
    return [t for t in study.get_trials(deepcopy=False) if not is_broken(t)]


def is_broken(trial: FrozenTrial) -> bool:
    """Failed by no fault of its settings: its process was killed, or left it to another one."""
    return trial.state == TrialState.FAIL and REASON not in trial.user_attrs


def preset_trial(study: optuna.Study) -> FrozenTrial | None:
    """The trial that is the preset unchanged, unless it was broken off."""
    found = [t for t in counted_trials(study) if t.user_attrs.get(IS_PRESET)]
    return found[0] if found else None


def fail_dead_trials(study: optuna.Study, folder: Path, unclaimed: dict[int, float]) -> None:
    """Fail and queue again what dead processes left running.

    `unclaimed` remembers since when (monotonic seconds) trials without an owner have been seen.
    """
    optuna.storages.fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if HOST not in trial.user_attrs:
            # Its process says who it is within a moment, or died before its first heartbeat.
            # By our own clock: the others' may be set to another time zone.
            seen = unclaimed.setdefault(trial.number, time.monotonic())
            if time.monotonic() - seen > GRACE_SECONDS and _fail(study, trial):
                retry_trial(study, study.get_trials()[trial.number])
            continue
        root = trial_folder(folder, trial.number)
        if trial.user_attrs.get(HOST) != socket.gethostname() or not root.is_dir():
            continue  # of another machine, or not begun: the heartbeat decides
        with try_to_hold(RunDirectory(root).lock) as is_free:
            if is_free and _fail(study, trial):
                retry_trial(study, study.get_trials()[trial.number])


def _fail(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Whether it was still running."""
    try:
        study.tell(trial.number, state=TrialState.FAIL)
    except (ValueError, optuna.exceptions.UpdateFinishedTrialError):  # it has just ended
        return False
    return True


def trial_folder(folder: Path, number: int) -> Path:
    """A trial's run folder."""
    return folder / f"trial-{number:04d}"


@contextmanager
def create_trial_folder(root: Path) -> Iterator[None]:
    """Make a trial's folder, which is a run, and hold its lock; leaving the context frees it."""
    partial = RunDirectory(root.with_name(f".{root.name}.partial"))
    partial.root.mkdir(parents=True, exist_ok=True)
    with wait_for(partial.lock):
        partial.root.rename(root)  # so nobody sees it without its lock
        yield


def wait_for_folder(folder: Path) -> AbstractContextManager[object]:
    """One process at a time opens a study and writes its reports; the others wait."""
    return wait_for(folder / _LOCK_NAME)
