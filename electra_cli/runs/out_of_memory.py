"""Out of memory: which errors mean it, and the setting that needs less."""

import errno
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

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
    """What the library said, without what torch adds of its allocator's inner numbers."""
    said = (str(error) or type(error).__name__).splitlines()[0]
    said = said.partition(" Including non-PyTorch memory")[0]
    return said if said.lower().startswith("cuda out of memory") else f"out of memory: {said}"


@contextmanager
def hint_at_less_memory(windows_per_pass: int, hint: str) -> Iterator[None]:
    """Raise RunError with a hint where memory runs out."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        raise RunError(
            f"{describe_out_of_memory(error)} ({windows_per_pass} windows per forward pass)",
            hint=hint,
        ) from error


def explain_out_of_memory(
    run: RunDirectory, config: PretrainConfig
) -> AbstractContextManager[None]:
    """Raise RunError with the setting that lets a resume go on with less memory."""
    return hint_at_less_memory(config.run.windows_per_pass, _less_memory(run, config))


def _less_memory(run: RunDirectory, config: PretrainConfig) -> str:
    settings = config.run
    resume = f"go on with: electra resume {as_argument(run.root)} --set run."
    smaller = smaller_pass(settings.batch_size, settings.windows_per_pass)
    if smaller:
        return f"{resume}micro_batch_size={smaller}"
    if not settings.gradient_checkpointing:
        return f"{resume}gradient_checkpointing=true"
    return "start a new run with a shorter --max-seq-length or a smaller --preset"


def smaller_pass(batch_size: int, windows_per_pass: int) -> int | None:
    """The largest divisor of the batch that is at most half of what a pass has; None at 1."""
    halves = range(windows_per_pass // 2, 0, -1)
    return next((windows for windows in halves if batch_size % windows == 0), None)
