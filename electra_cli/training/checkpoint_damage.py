"""What is wrong with a checkpoint's files, found without reading a tensor.

Loads no torch, so that `electra status` need not wait for that.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from electra_cli.disk import sha256_of
from electra_cli.errors import RunError

# Raised when the content changes, or what is computed from it: the order of windows, masks.
FORMAT_VERSION = 4
_READ_VERSIONS = (2, 3, FORMAT_VERSION)
MANIFEST_NAME = "manifest.json"


def find_damage(path: Path, step: int) -> str | None:
    """What is wrong with the files of a step's checkpoint, or None if every checksum holds.

    Raises RunError for one of another format: it is complete, and must not be skipped.
    """
    try:
        manifest = json.loads((path / MANIFEST_NAME).read_text())
        version, checksums = int(manifest["format_version"]), dict(manifest["sha256"])
        found, seal = int(manifest["step"]), manifest.get("manifest_sha256")
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return f"{MANIFEST_NAME} cannot be read"
    has_seal = version != 1 or seal is not None  # format 1 had none
    if has_seal and seal != seal_of(manifest):
        return f"{MANIFEST_NAME} does not match its checksum"
    if version not in _READ_VERSIONS:
        raise RunError(
            f"{path} has format {version}, this program reads format {FORMAT_VERSION}",
            hint="go on with the version of electra-cli that environment.json names",
        )
    if found != step:
        return f"{MANIFEST_NAME} is that of step {found}"
    return _find_damaged_file(path, checksums)


def _find_damaged_file(path: Path, checksums: dict[str, str]) -> str | None:
    for name, expected in checksums.items():
        if Path(name).name != name or (path / name).is_symlink():
            return f"{MANIFEST_NAME} names {name!r}, which is no file of the folder's own"
        try:
            found = sha256_of(path / name)
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
        if found != expected:
            return f"{name} does not match its checksum"
    return None


def seal_of(manifest: dict[str, Any]) -> str:
    """Checksum of the manifest's other entries."""
    rest = {key: value for key, value in manifest.items() if key != "manifest_sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
