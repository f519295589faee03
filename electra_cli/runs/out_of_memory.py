"""Out of memory: which errors mean it, and the setting that needs less."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from electra_cli.config import PretrainConfig
from electra_cli.disk import as_argument
from electra_cli.errors import RunError
from electra_cli.run_directory import RunDirectory

# In messages of torch's errors that have no class of their own: of its CPU allocator, of drivers.
_MESSAGES = ("out of memory", "not enough memory", "allocate memory", "alloc_failed")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was no memory left, on the host or on a device."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, RuntimeError):  # torch.OutOfMemoryError is one
        return any(message in str(error).lower() for message in _MESSAGES)
    return isinstance(error, MemoryError)


def describe_out_of_memory(error: BaseException) -> str:
    """The first line of what the library said."""
    return f"out of memory: {(str(error) or type(error).__name__).splitlines()[0]}"


@contextmanager
def explain_out_of_memory(run: RunDirectory, config: PretrainConfig) -> Iterator[None]:
    """Raise RunError with the setting that lets a resume go on with less memory."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        raise RunError(
            f"{describe_out_of_memory(error)} ({config.run.windows_per_pass} windows per forward "
            "pass)",
            hint=_less_memory(run, config),
        ) from error


def _less_memory(run: RunDirectory, config: PretrainConfig) -> str:
    settings, batch_size = config.run, config.run.batch_size
    resume = f"go on with: electra resume {as_argument(run.root)} --set run."
    smaller = [n for n in range(1, settings.windows_per_pass // 2 + 1) if batch_size % n == 0]
    if smaller:
        return f"{resume}micro_batch_size={smaller[-1]}"
    if not settings.gradient_checkpointing:
        return f"{resume}gradient_checkpointing=true"
    return "start a new run with a shorter --max-seq-length or a smaller --preset"
