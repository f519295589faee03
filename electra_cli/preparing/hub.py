"""Datasets of the Hugging Face Hub, streamed; `datasets` is loaded when rows are read."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from electra_cli import console
from electra_cli.errors import DataError
from electra_cli.hub import HUB_TIMEOUT_SECONDS, network_errors, one_line
from electra_cli.preparing.paths import closest_path


def hub_rows(dataset_id: str, subset: str | None, split: str) -> Iterator[dict[str, Any]]:
    """The rows of a dataset with all their columns. Raises DataError."""
    with explained_errors(dataset_id):
        yield from stream_dataset(dataset_id, subset, split, hub_revision(dataset_id))


def stream_dataset(
    dataset_id: str, subset: str | None, split: str, revision: str
) -> Iterable[dict[str, Any]]:
    """The rows of a commit, which can be read again from the first one. Raises DataError."""
    import datasets

    datasets.disable_progress_bars()
    try:
        rows: Iterable[dict[str, Any]] = datasets.load_dataset(
            dataset_id, subset, split=split, streaming=True, revision=revision
        )
    # ValueError: no such subset or split, with a list of those there are.
    # RuntimeError: the dataset is a script, which `datasets` no longer runs.
    except (ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"dataset {dataset_id}: {one_line(error)}",
            hint="choose with --subset and --split; a gated dataset needs: hf auth login",
        ) from None
    except network_errors() as error:
        raise _interrupted(dataset_id, error) from None
    return rows


@contextmanager
def explained_errors(dataset_id: str) -> Iterator[None]:
    """Raise DataError for what goes wrong while rows are read from the network."""
    import datasets

    try:
        yield
    except (*network_errors(), datasets.exceptions.DatasetsError) as error:
        raise _interrupted(dataset_id, error) from None


def _interrupted(dataset_id: str, error: Exception) -> DataError:
    return DataError(
        f"reading dataset {dataset_id} failed: {one_line(error)}",
        hint="check the network and try again, or download it and name its files",
    )


def hub_revision(dataset_id: str) -> str:
    """The commit to read.

    A request of its own, because load_dataset retries for half a minute without a network.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    waiting = f"waiting for the Hugging Face Hub to answer about {dataset_id}, for up to"
    try:
        with console.announce_wait(f"{waiting} {HUB_TIMEOUT_SECONDS:.0f} s"):
            return HfApi().dataset_info(dataset_id, timeout=HUB_TIMEOUT_SECONDS).sha or "main"
    except (RepositoryNotFoundError, HFValidationError):
        problem = f"there is no file and no Hugging Face dataset named {dataset_id}"
        hint = "check the name; a private dataset needs: hf auth login"
    except network_errors() as error:
        problem = f"no file is called {dataset_id}, and the Hugging Face Hub cannot be reached"
        problem += f" ({one_line(error)})"
        hint = "name a file, or try again with a network"
    close = closest_path(Path(dataset_id))
    raise DataError(problem, hint=f"did you mean {close}?" if close else hint)
