"""One process at a time writes a run."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from electra_cli import locks as folder_lock
from electra_cli.errors import RunError
from electra_cli.run_directory import RunDirectory


@contextmanager
def locked(run: RunDirectory) -> Iterator[None]:
    """Hold a run. Raises RunError that names who holds it, or if its folder is not writable."""

    def in_use(owner: str) -> RunError:
        return RunError(
            f"{run.root} is in use by {owner}",
            hint="wait until it is done, or stop it; a run that was killed is free at once",
        )

    with ExitStack() as stack:
        try:
            stack.enter_context(folder_lock.held(run.lock, in_use))
        except OSError as error:
            raise RunError(
                f"{run.root} cannot be written: {error.strerror}",
                hint="make the folder writable, or copy it and go on with the copy",
            ) from None
        yield
