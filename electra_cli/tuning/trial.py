"""One trial: its settings, a normal run that spends the same FLOPs as all others, its score."""

import math
import os
import socket
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import optuna
import torch

from electra_cli import console
from electra_cli.config import PretrainConfig
from electra_cli.data.prepared import PreparedData
from electra_cli.errors import ConfigError, DataError, NonFiniteError, RunError
from electra_cli.metrics import VALIDATION_PREFIX, Metrics
from electra_cli.model.objectives.electra import ElectraObjective
from electra_cli.presets import save_config, with_options
from electra_cli.runs.environment import write_environment
from electra_cli.runs.loop import train
from electra_cli.runs.micro_batch import fit_micro_batch
from electra_cli.runs.out_of_memory import describe_out_of_memory, is_out_of_memory
from electra_cli.runs.plan import measure_run
from electra_cli.runs.session import Session, count_model_parameters, open_session
from electra_cli.training.device import select_compute
from electra_cli.tuning.search import Search
from electra_cli.tuning.space import Parameter, apply_values
from electra_cli.tuning.storage import IS_PRESET
from electra_cli.tuning.study import (
    FAILURE_REASON,
    HOST,
    NUM_SHARES,
    PID,
    counted_trials,
    create_locked_run,
)
from electra_cli.tuning.yardstick import DiscriminatorScore, score_discriminator

FIGURES = "figures"  # the attribute of a trial that holds what tables show of it
_ROWS_PER_SHARE = 10  # of the log, where a trial has steps enough


class TrialFailed(Exception):
    """A trial that cannot be finished because of its settings."""


class TrialSkipped(Exception):
    """A trial that is not needed any more: another process was faster."""


def run_trial(search: Search, trial: optuna.Trial, trial_lock: ExitStack) -> float:
    """Train one trial in its own run folder -> what it is ranked by.

    `trial_lock` holds the lock of its folder. The caller closes it after the study knows how the
    trial ended, because to others on this machine a running trial with a free lock is dead.

    Raises TrialPruned, TrialFailed or TrialSkipped; anything else interrupts the trial, which is
    tried again.
    """
    is_preset = bool(trial.user_attrs.get(IS_PRESET))
    before = [t for t in counted_trials(search.study) if t.number < trial.number]
    is_repeated = is_preset and any(t.user_attrs.get(IS_PRESET) for t in before)
    lacks_yardstick = not is_preset and not search.has_yardstick
    if len(before) >= search.num_trials or is_repeated or lacks_yardstick:
        raise TrialSkipped
    trial.set_user_attr(HOST, socket.gethostname())
    trial.set_user_attr(PID, os.getpid())
    trial_lock.enter_context(create_locked_run(search.trial_directory(trial.number)))
    reason = None
    try:
        return _train(search, trial, is_preset)
    except (ConfigError, NonFiniteError, _UnusableSettings) as error:
        reason = str(error)
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        reason = describe_out_of_memory(error)
    # Outside the handlers, whose traceback keeps the trial's tensors alive.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trial.set_user_attr(FAILURE_REASON, reason)
    raise TrialFailed(reason)


class _UnusableSettings(Exception):
    """Settings that this machine or this corpus cannot run, or whose run has no finite score."""


def _train(search: Search, trial: optuna.Trial, is_preset: bool) -> float:
    values = {p.name: _suggest(trial, p) for p in search.space.parameters}
    session = _open(search, trial, {} if is_preset else values)
    scoring = _TrialScoring(search, trial, session)
    try:
        with console.muted():
            train(session, [scoring])
        return scoring.finish()
    finally:
        session.close()


def _suggest(trial: optuna.Trial, parameter: Parameter) -> Any:
    name, low, high = parameter.name, parameter.low, parameter.high
    if parameter.choices:
        return trial.suggest_categorical(name, parameter.choices)
    if parameter.is_integer:
        return trial.suggest_int(name, int(low), int(high), log=parameter.log)
    return trial.suggest_float(name, low, high, log=parameter.log)


def _open(search: Search, trial: optuna.Trial, values: dict[str, Any]) -> Session:
    """A run with these settings, and as many steps as cost what the preset costs."""
    data = search.data
    draft = apply_values(search.preset, values, search.preset.run.num_steps)
    compute = select_compute(draft)
    _, num_parameters = count_model_parameters(draft, data.manifest.vocab_size)
    try:
        num_steps = equal_flops_steps(search.preset, draft, data)
        config = trial_config(search.preset, values, num_steps)
        config = fit_micro_batch(config, num_parameters, compute)
    except (RunError, DataError) as error:
        raise _UnusableSettings(str(error)) from None
    config = config.with_directory(data.directory)
    run = search.trial_directory(trial.number)
    save_config(config, run.config)
    write_environment(run.environment, compute)
    return open_session(
        run, config, data, compute, evaluation=search.held_out, probes=search.probes
    )


def equal_flops_steps(preset: PretrainConfig, draft: PretrainConfig, data: PreparedData) -> int:
    """Steps after which a trial has spent the training FLOPs of the preset, both networks'."""
    vocab_size = data.manifest.vocab_size
    budget = measure_run(preset, vocab_size, data).total_flops
    flops_per_step = measure_run(draft, vocab_size, data).total_flops / draft.run.num_steps
    return max(1, round(budget / flops_per_step))


def trial_config(preset: PretrainConfig, values: dict[str, Any], num_steps: int) -> PretrainConfig:
    """A trial's settings; it evaluates at each share of its FLOPs and saves at its end."""
    config = apply_values(preset, values, num_steps)
    log_every, eval_every = 1, max(1, round(num_steps / NUM_SHARES))
    if eval_every >= _ROWS_PER_SHARE**2:
        log_every = round(eval_every / _ROWS_PER_SHARE)
        eval_every = log_every * _ROWS_PER_SHARE
    intervals = {
        "run.log_every": log_every,
        "run.eval_every": eval_every,
        "run.save_every": num_steps,
        "run.keep_checkpoints": 1,
        "run.keep_every": None,
        "run.probe_every": None,
        "run.on_nonfinite": "stop",  # a trial that diverges is a failed trial
    }
    return with_options(config, intervals, "these settings")


class _TrialScoring:
    """Scores a trial at each share of its FLOPs, tells the study, and stops the trial if pruned."""

    def __init__(self, search: Search, trial: optuna.Trial, session: Session) -> None:
        self._search = search
        self._trial = trial
        self._session = session
        # commands/tune.py refuses any other objective.
        assert isinstance(session.trainer.model, ElectraObjective)
        self._model = session.trainer.model
        self._reported = 0
        self._row: Metrics = {}  # the newest with held-out metrics

    def append_row(self, row: Metrics) -> None:
        """See RunLogger: a row of the log was written."""
        step, num_steps = row["step"], self._session.config.run.num_steps
        if step is None or f"{VALIDATION_PREFIX}loss" not in row:
            return
        self._row = row
        # Steps cost alike, so a share of the steps is that share of the FLOPs.
        share = round(NUM_SHARES * step / num_steps)
        if not self._reported < share < NUM_SHARES or not self._search.has_yardstick:
            return
        self._reported = share
        score = self._score()
        self._trial.report(self._value(score), share)
        # The preset is what all others are compared with, so it is never pruned.
        if not self._trial.user_attrs.get(IS_PRESET) and self._trial.should_prune():
            self._keep_figures(score)
            raise optuna.TrialPruned

    def rewind(self, step: int) -> None:
        """See RunLogger; never called, since trials stop at a loss that is not finite."""
        raise AssertionError

    def close(self) -> None:
        """See RunLogger; the session closes its own loggers, not this one."""

    def finish(self) -> float:
        """The final value; the preset's trial makes the yardstick first."""
        search = self._search
        if not search.has_yardstick:
            search.make_yardstick(self._model, self._session.compute)
        score = self._score()
        self._keep_figures(score)
        value = self._value(score)
        self._trial.report(value, NUM_SHARES)
        return value

    def _score(self) -> DiscriminatorScore:
        return score_discriminator(
            self._model,
            self._search.open_yardstick(),
            self._session.compute,
            self._session.config.run.windows_per_pass,
        )

    def _value(self, score: DiscriminatorScore) -> float:
        metric = self._search.metric
        if metric.source == "yardstick":
            value = getattr(score, metric.field)
        else:
            value = self._row.get(VALIDATION_PREFIX + metric.field)
        if value is None or not math.isfinite(value):
            raise _UnusableSettings(f"the {metric.source} {metric.field} is not finite")
        return float(value)

    def _keep_figures(self, score: DiscriminatorScore) -> None:
        """Store what the tables show of a trial beside its settings."""
        row, config = self._row, self._session.config
        figures = {
            **{f"yardstick_{name}": value for name, value in asdict(score).items()},
            "mlm_masked_loss": row[f"{VALIDATION_PREFIX}mlm_masked_loss"],
            "steps": row["step"],
            "num_steps": config.run.num_steps,
            "train_flops": row["train_flops"],
            "seconds": row["elapsed_seconds"],
            "generator_hidden_size": config.model.generator_hidden_size,
        }
        self._trial.set_user_attr(FIGURES, figures)
