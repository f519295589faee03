"""What `electra tune` varies: the `tune:` section of a preset, or the default space.

Bounds and choices are options' values, so they are checked as the options themselves are: each is
put into the preset, which must stay valid. Values are drawn by study.StudySampler.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from electra_cli.config import PretrainConfig, idle_options, reason_not_searched
from electra_cli.console import format_value
from electra_cli.errors import ConfigError
from electra_cli.presets import with_options

# Searched in place of optim.num_warmup_steps: trials differ in their steps, so in their warm-up.
WARMUP_FRACTION = "optim.warmup_fraction"

# Generators as shares of the discriminator's width; the paper's best are a quarter to a half.
_GENERATOR_WIDTHS = (1 / 6, 1 / 4, 1 / 3, 1 / 2, 3 / 4, 1.0)
_BATCH_SIZE_FACTORS = (0.25, 0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Parameter:
    """One dimension: a range of floats or integers, or choices."""

    name: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    is_integer: bool = False
    choices: tuple[Any, ...] = ()

    def __contains__(self, value: object) -> bool:
        if self.choices:
            return value in self.choices
        return isinstance(value, int | float) and self.low <= value <= self.high

    def __str__(self) -> str:
        if self.choices:
            return ", ".join(format_value(choice) for choice in self.choices)
        text = f"{format_value(self.low)} to {format_value(self.high)}"
        return f"{text}, log scale" if self.log else text


@dataclass(frozen=True)
class SearchSpace:
    """The parameters; `left_out`: those of the default space that do not fit, and why."""

    parameters: tuple[Parameter, ...]
    left_out: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters' names, in order."""
        return tuple(parameter.name for parameter in self.parameters)

    def as_json(self) -> dict[str, Any]:
        """As a study records it, to compare its space with another one."""
        return {p.name: {**asdict(p), "choices": list(p.choices)} for p in self.parameters}


def value_of(config: PretrainConfig, name: str) -> Any:
    """The value that a config has for a parameter."""
    if name == WARMUP_FRACTION:
        return config.optim.num_warmup_steps / config.run.num_steps
    section, _, key = name.partition(".")
    return getattr(getattr(config, section), key)


def apply_values(
    preset: PretrainConfig, values: Mapping[str, Any], num_steps: int
) -> PretrainConfig:
    """The preset with a trial's values and `num_steps`; the warm-up keeps its share of the steps.

    Raises ConfigError if the values do not fit together.
    """
    share = values.get(WARMUP_FRACTION, value_of(preset, WARMUP_FRACTION))
    options = {name: value for name, value in values.items() if name != WARMUP_FRACTION}
    options["run.num_steps"] = num_steps
    options["optim.num_warmup_steps"] = round(share * num_steps)
    return with_options(preset, options, "these settings")


def parse_space(entries: Mapping[str, Any] | None, preset: PretrainConfig) -> SearchSpace:
    """The space that a preset's `tune:` section describes; None means the default space.

    presets.load_tune_section has checked the names. Raises ConfigError.
    """
    if entries is not None:
        if not entries:
            raise ConfigError(
                "tune: names no parameter", hint="optim.learning_rate: {low: .., high: ..}, or [..]"
            )
        parameters = [_parse_entry(str(name), entry, preset) for name, entry in entries.items()]
        return SearchSpace(tuple(parameters), {})
    found, left_out = [], {}
    for name, entry in default_entries(preset).items():
        try:
            found.append(_parse_entry(name, _fitting_choices(name, entry, preset), preset))
        except ConfigError as error:
            left_out[name] = str(error).removeprefix(f"tune: {name}: ")
    return SearchSpace(tuple(found), left_out)


def default_entries(preset: PretrainConfig) -> dict[str, Any]:
    """The default space around a preset, as a `tune:` section would write it.

    A preset's value outside a default range widens that range, because trial 0 is the preset.
    """
    rate = preset.optim.learning_rate
    ranges: dict[str, dict[str, Any]] = {
        "optim.learning_rate": {"low": rate / 5, "high": rate * 5, "log": True},
        WARMUP_FRACTION: {"low": 0.0, "high": 0.2},
        "optim.weight_decay": {"low": 0.0, "high": 0.1},
        "objective.mask_fraction": {"low": 0.1, "high": 0.4},
        # The usual 50 is one of several that work: Adam cancels a common factor, so the weight sets
        # only how much each task counts in the shared embeddings.
        "objective.discriminator_loss_weight": {"low": 1.0, "high": 100.0, "log": True},
    }
    for name, bounds in ranges.items():
        own = value_of(preset, name)
        bounds["low"], bounds["high"] = min(bounds["low"], own), max(bounds["high"], own)
        bounds["log"] = bounds.get("log", False) and bounds["low"] > 0
    batch_size = preset.run.batch_size
    sizes = {max(1, round(batch_size * factor)) for factor in _BATCH_SIZE_FACTORS}
    return {
        **ranges,
        "model.generator_width": _generator_widths(preset),
        "run.batch_size": sorted(sizes),
    }


def _generator_widths(preset: PretrainConfig) -> list[float]:
    """Widths that differ in whole heads, the preset's own among them."""
    by_heads: dict[int, float] = {}
    for width in (preset.model.generator_width, *_GENERATOR_WIDTHS):
        model = preset.model.model_copy(update={"generator_width": width})
        by_heads.setdefault(model.generator_heads, width)
    return sorted(by_heads.values())


def _fitting_choices(name: str, entry: Any, preset: PretrainConfig) -> Any:
    """Those of the default choices that fit the preset.

    Raises ConfigError, with the problem of the last that does not fit, if fewer than two are left.
    """
    if not isinstance(entry, list):
        return entry
    fitting, problem = [], ConfigError(f"{name} has one value only", hint="")
    for value in entry:
        try:
            fitting.append(_validated(name, value, preset))
        except ConfigError as error:
            problem = error
    if len(fitting) < 2:
        raise problem
    return fitting


def _parse_entry(name: str, entry: Any, preset: PretrainConfig) -> Parameter:
    reason = reason_not_searched(name) or idle_options(preset).get(name)
    if reason is not None:
        raise ConfigError(
            f"tune: {name} cannot be searched: {reason}", hint="leave it out of tune:"
        )
    if isinstance(entry, list):
        parameter = _parse_choices(name, entry, preset)
    elif isinstance(entry, dict):
        parameter = _parse_range(name, entry, preset)
    else:
        raise ConfigError(
            f"tune: {name}: {entry!r} is neither a range nor a list",
            hint=f"{name}: {{low: .., high: ..}}, or {name}: [.., ..]",
        )
    own = value_of(preset, name)
    if own not in parameter:
        raise ConfigError(
            f"tune: {name}: the preset's own {format_value(own)} is not in {parameter}",
            hint="widen it, or change the preset: trial 0 is the preset unchanged",
        )
    return parameter


def _parse_choices(name: str, entry: list[Any], preset: PretrainConfig) -> Parameter:
    choices = tuple(dict.fromkeys(_validated(name, choice, preset) for choice in entry))
    if len(choices) < 2:
        raise ConfigError(f"tune: {name}: there is nothing to choose", hint="list two values")
    return Parameter(name, choices=choices)


def _parse_range(name: str, entry: dict[str, Any], preset: PretrainConfig) -> Parameter:
    log = entry.get("log", False)
    if not {"low", "high"} <= set(entry) <= {"low", "high", "log"} or not isinstance(log, bool):
        raise ConfigError(
            f"tune: {name}: a range has low, high and log (true or false), not {entry!r}",
            hint=f"{name}: {{low: .., high: .., log: true}}",
        )
    own = value_of(preset, name)
    low, high = (_validated(name, entry[end], preset) for end in ("low", "high"))
    numbers = (int, float)
    if any(isinstance(v, bool) or not isinstance(v, numbers) for v in (own, low, high)):
        raise ConfigError(f"tune: {name} has no range", hint=f"{name}: [.., ..]")
    if not low < high or (log and low <= 0):
        problem = f"low {format_value(low)} must be below high {format_value(high)}"
        if log:
            problem += ", and above 0 for a log scale"
        raise ConfigError(
            f"tune: {name}: {problem}",
            hint=f"{name}: {{low: .., high: ..}}",
        )
    is_integer = all(isinstance(v, int) for v in (own, low, high))
    return Parameter(name, low, high, log, is_integer)


def _validated(name: str, value: Any, preset: PretrainConfig) -> Any:
    """The value as the option holds it. Raises ConfigError if the option does not take it."""
    if name == WARMUP_FRACTION:
        if isinstance(value, int | float) and 0 <= value <= 1:
            return float(value)
        raise ConfigError(
            f"tune: {name} = {value!r} is not from 0 to 1",
            hint=f"{name}: the share of a trial's steps that warm up",
        )
    return value_of(with_options(preset, {name: value}, f"tune: {name}"), name)
