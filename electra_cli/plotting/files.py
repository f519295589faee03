"""Write the page and the picture; never over a file that this program has not written."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from electra_cli.errors import RunError
from electra_cli.plotting.curves import SIGNATURE
from electra_cli.plotting.page import write_page
from electra_cli.plotting.run_log import RunLog


def write_files(
    logs: Sequence[RunLog], page: Path, png: Path | None, reload_seconds: int | None = None
) -> list[Path]:
    """Write the page, and the picture if `png` is given; return their paths.

    With `reload_seconds` the page reloads itself at that interval. Raises RunError for a path that
    cannot be written, or that holds a file of the user's.
    """
    endings = (".html", ".htm", "")
    write = partial(write_page, runs=logs, reload_seconds=reload_seconds)
    _write(page, write, "--out", endings)
    if png is None:
        return [page]
    from electra_cli.plotting.picture import write_picture  # loads matplotlib: half a second

    _write(png, partial(write_picture, runs=logs), "--png", (".png",))
    return [page, png]


def _write(
    path: Path, write: Callable[[Path], None], option: str, endings: tuple[str, ...]
) -> None:
    """Let `write` write one file with such an ending, unless one without our signature is there."""
    try:
        if path.is_dir():
            raise RunError(f"{path} is a folder", hint=f"name a file: {option} FILE")
        if path.exists() and SIGNATURE.encode() not in _head(path):
            raise RunError(
                f"{path} exists and was not written by electra",
                hint=f"choose another {option} FILE",
            )
        if path.suffix.lower() not in endings:
            raise RunError(
                f"{option} {path}: what it writes is not {path.suffix or 'without an ending'}",
                hint=f"name it {path.stem}{endings[0]}",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {error.strerror}", hint=f"choose another {option} FILE"
        ) from None


def _head(path: Path) -> bytes:
    """The first bytes of a file: there a page and a picture have the signature."""
    with path.open("rb") as file:
        return file.read(512)
