"""How far an unfinished folder is: progress.json, replaced after every round."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from electra_cli.data.manifest import FORMAT_VERSION, PROGRESS_NAME, PrepareSettings, ShardRecord
from electra_cli.disk import write_bytes_atomically
from electra_cli.errors import DataError
from electra_cli.preparing.statistics import Tally


class PreparationState(BaseModel):
    """What an unfinished folder holds so far."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    settings: PrepareSettings
    shards: tuple[ShardRecord, ...] = ()
    tally: Tally = Tally()


def save_state(directory: Path, state: PreparationState) -> None:
    """Replace the progress file; a kill leaves the old one or the new one."""
    write_bytes_atomically(directory / PROGRESS_NAME, state.model_dump_json(indent=1).encode())


def load_state(directory: Path) -> PreparationState | None:
    """The state of an unfinished folder; None if it has no progress file.

    Raises DataError if the file is damaged, or of another version of this program.
    """
    path = directory / PROGRESS_NAME
    try:
        return PreparationState.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise DataError(
            f"{path} is damaged, or of another version of electra",
            hint="prepare the source again with another --out",
        ) from error
