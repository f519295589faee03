"""One trial: its settings, a normal run that spends the same FLOPs as every other, its score."""

import math
import os
import socket
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import optuna
import torch

from electra_cli import console
from electra_cli.errors import ConfigError, DataError, NonFiniteError, RunError
from electra_cli.metrics import EvalMetrics, StepMetrics
from electra_cli.model.objectives.electra import ElectraPretrainer
from electra_cli.presets import save_config
from electra_cli.runs.loop import train_loop
from electra_cli.runs.micro_batch import fit_micro_batch
from electra_cli.runs.session import (
    Session,
    count_model_parameters,
    open_session,
    select_arithmetic,
    write_environment,
)
from electra_cli.tuning.search import Search
from electra_cli.tuning.settings import equal_flops_steps, trial_config
from electra_cli.tuning.space import Parameter, apply_values
from electra_cli.tuning.storage import IS_PRESET
from electra_cli.tuning.study import (
    HOST,
    NUM_SHARES,
    PID,
    REASON,
    counted_trials,
    create_trial_folder,
    trial_folder,
)
from electra_cli.tuning.yardstick import YardstickScore, score_discriminator

FIGURES = "figures"
_OUT_OF_MEMORY = ("not enough memory", "can't allocate memory")  # of torch's CPU allocator


class TrialFailed(Exception):
    """A trial that cannot be finished, by the fault of its settings."""


class Withdrawn(Exception):
    """A trial that another process made superfluous between asking for it and beginning it."""


def run_trial(search: Search, trial: optuna.Trial, until_told: ExitStack) -> float:
    """Train one trial in its own run folder -> what it is ranked by.

    The folder stays locked until `until_told` is closed, after the study knows how it ended: others
    on this machine take a running trial whose folder is free for dead.

    Raises TrialPruned, TrialFailed or Withdrawn; anything else breaks the trial off, to be tried
    again.
    """
    is_preset = bool(trial.user_attrs.get(IS_PRESET))
    before = [t for t in counted_trials(search.study) if t.number < trial.number]
    is_repeated = is_preset and any(t.user_attrs.get(IS_PRESET) for t in before)
    lacks_yardstick = not is_preset and not search.has_yardstick
    if len(before) >= search.num_trials or is_repeated or lacks_yardstick:
        raise Withdrawn
    trial.set_user_attr(HOST, socket.gethostname())
    trial.set_user_attr(PID, os.getpid())
    until_told.enter_context(create_trial_folder(trial_folder(search.folder, trial.number)))
    reason = None
    try:
        return _train(search, trial, is_preset)
    except (ConfigError, NonFiniteError, _Unfit) as error:
        reason = str(error)
    except (MemoryError, torch.OutOfMemoryError) as error:
        reason = f"out of memory: {_first_line(error)}"
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        reason = f"out of memory: {_first_line(error)}"
    # Outside of the handlers, so that no traceback keeps the trial's tensors alive.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trial.set_user_attr(REASON, reason)
    raise TrialFailed(reason)


class _Unfit(Exception):
    """Settings that this machine or this corpus cannot run, or whose run has no finite score."""


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch's CPU allocator raised it: it has no class of its own."""
    return any(text in str(error) for text in _OUT_OF_MEMORY)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _train(search: Search, trial: optuna.Trial, is_preset: bool) -> float:
    values = {p.name: _suggest(trial, p) for p in search.space.parameters}
    session = _open(search, trial, {} if is_preset else values)
    watch = _Watch(search, trial, session)
    try:
        with console.muted():
            train_loop(session, watch.logged)
        return watch.finish()
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
    device, precision = select_arithmetic(draft)
    _, num_parameters = count_model_parameters(draft, data.manifest.vocab_size)
    try:
        num_steps = equal_flops_steps(search.preset, draft, data)
        config = trial_config(search.preset, values, num_steps)
        config = fit_micro_batch(config, num_parameters, device, precision)
    except (RunError, DataError) as error:
        raise _Unfit(str(error)) from None
    config = config.with_directory(data.directory)
    run = search.run_of(trial.number)
    save_config(config, run.config)
    write_environment(run.environment, device, precision)
    session = open_session(run, config, data, device, precision)
    session.evaluation = search.held_out
    return session


class _Watch:
    """Scores a trial at the shares of its FLOPs, reports, and stops it where it is pruned."""

    def __init__(self, search: Search, trial: optuna.Trial, session: Session) -> None:
        self._search = search
        self._trial = trial
        self._session = session
        assert isinstance(
            session.trainer.model, ElectraPretrainer
        )  # see tune(): no other objective
        self._model = session.trainer.model
        self._reported = 0
        self._step: StepMetrics | None = None
        self._held_out: EvalMetrics | None = None

    def logged(self, step: StepMetrics, held_out: EvalMetrics | None) -> None:
        """A row of the log was written."""
        self._step = step
        num_steps = self._session.config.run.num_steps
        if held_out is None:
            return
        self._held_out = held_out
        # Steps cost alike, so a share of the steps is that share of the FLOPs.
        share = round(NUM_SHARES * step.step / num_steps)
        if not self._reported < share < NUM_SHARES or not self._search.has_yardstick:
            return
        self._reported = share
        score = self._score()
        self._trial.report(self._value(score), share)
        # All are held against the preset; it is pruned by nothing, also when it is repeated.
        if not self._trial.user_attrs.get(IS_PRESET) and self._trial.should_prune():
            self._keep_figures(score)
            raise optuna.TrialPruned

    def finish(self) -> float:
        """The last score; the preset's generator makes the yardstick first."""
        search = self._search
        if not search.has_yardstick:
            device, precision = select_arithmetic(self._session.config)
            search.make_yardstick(self._model, device, precision)
        score = self._score()
        self._keep_figures(score)
        value = self._value(score)
        self._trial.report(value, NUM_SHARES)
        return value

    def _score(self) -> YardstickScore:
        config = self._session.config
        device, precision = select_arithmetic(config)
        return score_discriminator(
            self._model,
            self._search.open_yardstick(),
            device,
            precision,
            config.run.windows_per_pass,
        )

    def _value(self, score: YardstickScore) -> float:
        metric = self._search.metric
        source = score if metric.source == "yardstick" else self._held_out
        value = getattr(source, metric.field)
        if value is None or not math.isfinite(value):
            raise _Unfit(f"the {metric.source} {metric.field} is not finite")
        return float(value)

    def _keep_figures(self, score: YardstickScore) -> None:
        """What the tables show of a trial, beside its settings."""
        assert self._step is not None
        assert self._held_out is not None
        config = self._session.config
        figures = {
            **{f"yardstick_{name}": value for name, value in asdict(score).items()},
            "mlm_masked_loss": self._held_out.mlm_masked_loss,
            "steps": self._step.step,
            "num_steps": config.run.num_steps,
            "train_flops": self._step.train_flops,
            "seconds": self._step.elapsed_seconds,
            "generator_hidden_size": config.model.generator_hidden_size,
        }
        self._trial.set_user_attr(FIGURES, figures)
