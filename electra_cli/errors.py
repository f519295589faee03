"""Errors that a user can fix: one line of problem, one line of what to do next.

Bugs are not UserErrors; they keep their traceback.
"""


class UserError(Exception):
    """A problem the user can fix, and the hint that says how."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.hint = hint


class ConfigError(UserError):
    """A preset, an option or a value that does not fit."""


class DataError(UserError):
    """A source, a tokenizer or a prepared folder that cannot be used."""


class RunError(UserError):
    """A run folder, a checkpoint or a device that cannot be used."""


class DiskFullError(RunError):
    """The disk was full when a row or a checkpoint was written; earlier ones are unharmed."""


class NonFiniteError(UserError):
    """A loss or gradient that is NaN or infinite; the weights are those before the update."""

    def __init__(self, problem: str, hint: str, step: int) -> None:
        super().__init__(problem, hint)
        self.step = step  # the first whose update was held back
