"""The folder that `electra prepare` writes: whether it may be written, and by one process only.

What is written into it, and in which order, is pipeline.py's work.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from electra_cli import console
from electra_cli.data.manifest import (
    MANIFEST_NAME,
    PROGRESS_NAME,
    TOKENIZER_NAME,
    PrepareSettings,
    load_manifest,
    save_new_tokens,
)
from electra_cli.data.tokenizer import Tokenizer, save_tokenizer
from electra_cli.disk import as_argument, is_full, replace_folder
from electra_cli.errors import DataError
from electra_cli.locks import hold
from electra_cli.preparing.state import PreparationState, load_state, save_state

LOCK_NAME = "prepare.lock"


def is_finished(directory: Path, settings: PrepareSettings) -> bool:
    """Whether the folder is complete. Raises DataError if its settings are others."""
    if not (directory / MANIFEST_NAME).exists():
        return False
    _check_same(directory, load_manifest(directory).settings, settings)
    return True


def load_folder_state(directory: Path, settings: PrepareSettings) -> PreparationState:
    """The state of an unfinished or new folder; writes nothing.

    Raises DataError if the folder holds anything else, or was begun with other settings.
    """
    if directory.exists() and not directory.is_dir():
        raise DataError(f"{directory} is a file", hint="choose another --out")
    state = load_state(directory)
    if state is not None:
        _check_same(directory, state.settings, settings)
        return state
    # A kill before the first progress file was complete leaves these.
    known = {f"{PROGRESS_NAME}.partial", LOCK_NAME}
    if directory.exists() and {file.name for file in directory.iterdir()} - known:
        raise DataError(
            f"{directory} is not empty, and electra prepare did not begin it",
            hint=f"choose another folder: --out {as_argument(_free_name(directory))}",
        )
    return PreparationState(settings=settings)


def begin_folder(
    directory: Path,
    state: PreparationState,
    tokenizer: Tokenizer,
    new_tokens: Mapping[int, Sequence[int]],
) -> Tokenizer:
    """Save the state, which marks the folder as ours, then the tokenizer and what it gained.

    Returns the tokenizer as it is opened from the folder.
    """
    save_state(directory, state)
    if new_tokens:
        save_new_tokens(directory, new_tokens)
    with replace_folder(directory / TOKENIZER_NAME) as partial:
        return save_tokenizer(tokenizer, partial)


@contextmanager
def hold_folder(directory: Path) -> Iterator[None]:
    """Make the folder and lock it. Raises DataError that names the process that holds the lock.

    Folders that were made here are removed afterwards if nothing is in them.
    """

    def in_use(owner: str) -> DataError:
        return DataError(
            f"{directory} is being prepared by {owner}",
            hint="wait until it is done, or choose another --out",
        )

    made = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    lock = directory / LOCK_NAME
    with hold(lock, in_use):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
            with suppress(OSError):  # not empty: the same command goes on with it
                for path in made:
                    path.rmdir()


@contextmanager
def explain_failures(directory: Path) -> Iterator[None]:
    """Say how to go on after Ctrl-C, a full disk, and a file that cannot be written."""
    try:
        yield
    except KeyboardInterrupt:
        console.hint(f"stopped; the same command goes on where {directory} stopped")
        raise
    except OSError as error:
        if is_full(error):
            raise DataError(
                f"no space is left on the disk of {directory} ({error.strerror})",
                hint="make room, then run the same command again; it goes on where it stopped",
            ) from error
        if error.errno is None:
            raise
        raise DataError(
            f"{error.filename or directory} cannot be used: {error.strerror}",
            hint="check that it exists and that you may write it, or choose another --out",
        ) from error


def _check_same(directory: Path, found: PrepareSettings, wanted: PrepareSettings) -> None:
    """Raise DataError that names the settings in which a folder and this command differ."""
    differences = [
        f"another {key}" if key in ("source", "tokenizer") else f"{key} {getattr(found, key)}"
        for key, value in wanted
        if getattr(found, key) != value
    ]
    if differences:
        raise DataError(
            f"{directory} was made with {', '.join(differences)}",
            hint="give the same source and options as before, or another folder: "
            f"--out {as_argument(_free_name(directory))}",
        )


def _free_name(directory: Path) -> Path:
    """A name in the same parent folder that is not used yet."""
    if not directory.name.strip("."):  # "." or ".."
        directory = directory.resolve()
    number = 2
    while (free := directory.parent / f"{directory.name}-{number}").exists():
        number += 1
    return free
