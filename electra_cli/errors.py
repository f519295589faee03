"""Errors that a user can solve: one line says the problem, one line what to do next.

A bug is not a UserError; it keeps its traceback.
"""


class UserError(Exception):
    """A problem that the user can solve, and the hint that says how."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.hint = hint


class ConfigError(UserError):
    """A preset, an option or a value that is not valid."""


class DataError(UserError):
    """A source, a tokenizer or a prepared folder that cannot be used."""


class RunError(UserError):
    """A run folder, a checkpoint or a device that cannot be used."""


class DiskFullError(RunError):
    """No room on the disk for a row of the log or a checkpoint; older files are not harmed."""


class NonFiniteError(UserError):
    """A loss or gradient that is NaN or infinite; the weights are those before the update."""

    def __init__(self, problem: str, hint: str, step: int) -> None:
        super().__init__(problem, hint)
        self.step = step  # the first step whose update was not applied
