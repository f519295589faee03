"""Options that may move during a run: a number, or from one number to another."""

from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator


class Schedule(BaseModel):
    """From `start` to `end` in a straight line over a share of the steps, then `end`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    start: float = Field(gt=0)
    end: float = Field(gt=0)
    over: float = Field(1.0, gt=0, le=1)


class ShareSchedule(Schedule):
    """A schedule of shares."""

    @model_validator(mode="after")
    def _is_of_shares(self) -> "ShareSchedule":
        if max(self.start, self.end) >= 1:
            raise ValueError("start and end should be less than 1")
        return self


def _kind(value: Any) -> str:
    return "schedule" if isinstance(value, dict | Schedule) else "number"


# Discriminated, so that an error is about the one of the two that was meant.
ScheduledNumber: TypeAlias = Annotated[
    Annotated[float, Field(gt=0), Tag("number")] | Annotated[Schedule, Tag("schedule")],
    Discriminator(_kind),
]
ScheduledShare: TypeAlias = Annotated[
    Annotated[float, Field(gt=0, lt=1), Tag("number")] | Annotated[ShareSchedule, Tag("schedule")],
    Discriminator(_kind),
]


def value_at(option: float | Schedule, step: int, num_steps: int) -> float:
    """The value after `step` of `num_steps` completed steps."""
    if not isinstance(option, Schedule):
        return option
    done = min(1.0, step / (option.over * num_steps))
    return option.start + (option.end - option.start) * done


def mean_value(option: float | Schedule) -> float:
    """The mean over a run."""
    if not isinstance(option, Schedule):
        return option
    return option.end + (option.start - option.end) * option.over / 2


def last_value(option: float | Schedule) -> float:
    """The value at the end of a run."""
    return option.end if isinstance(option, Schedule) else option
