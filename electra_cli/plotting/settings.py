"""Compare the settings of several runs, and describe how each differs. Pure."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath

from electra_cli.console import format_value
from electra_cli.plotting.run_log import RunLog

# More would leave no room for the curves on a small screen; the table of settings has them all.
_MAX_IN_LABEL = 3

_ABSENT = object()  # stands for an option that the run's version did not have


def option_names(runs: Sequence[RunLog]) -> tuple[list[str], list[str]]:
    """Names of the options that differ between the runs, and of the others; in the runs' order."""
    names = list(dict.fromkeys(name for run in runs for name in run.settings))
    differing = [name for name in names if _differs(name, runs)]
    return differing, [name for name in names if name not in differing]


def labels(runs: Sequence[RunLog]) -> list[str]:
    """For each run the settings that differ, such as `learning_rate 0.001, seed 2`.

    Empty where the settings are the same, or not known.
    """
    differing, _ = option_names(runs)
    return [_label(run.settings, differing) for run in runs]


def format_setting(value: object) -> str:
    """A setting as a preset has it, floats with six digits."""
    return format_value(value, digits=6)


def _differs(name: str, runs: Sequence[RunLog]) -> bool:
    values = [run.settings.get(name, _ABSENT) for run in runs]
    # A run whose settings are not known is no difference.
    return any(v != values[0] for v, run in zip(values, runs, strict=True) if run.settings)


def _label(settings: Mapping[str, object], differing: Sequence[str]) -> str:
    known = [name for name in differing if name in settings]
    parts = [f"{_short_name(name)} {_short(settings[name])}" for name in known]
    more = len(parts) - _MAX_IN_LABEL
    return ", ".join(parts[:_MAX_IN_LABEL]) + (f" and {more} more" if more > 0 else "")


def _short_name(name: str) -> str:
    """The key without its section; for objective.name the section, which says more."""
    section, _, key = name.rpartition(".")
    return section if key == "name" else key


def _short(value: object) -> str:
    """The value of a setting; of a path only the last part."""
    text = format_setting(value)
    return PurePath(text).name or text
