"""CheckpointManager: a checkpoint appears whole or not at all, and is checked before it is used.

A checkpoint is a folder of safetensors files, one JSON file of plain values, and a manifest with
the SHA-256 of each. Nothing in it is ever unpickled.
"""

import json
import re
import shutil
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from electra_cli.disk import sha256_of, sync_to_disk
from electra_cli.errors import RunError
from electra_cli.training.trainer import TrainingState

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
VALUES_NAME = "state.json"
_NAME = re.compile(r"step-(\d{8,})")


class CheckpointManager:
    """The checkpoints of one run: step-00001000/ and so on, the newest `keep` of them."""

    def __init__(self, directory: Path, keep: int) -> None:
        self._directory = directory
        self._keep = keep

    def steps(self) -> list[int]:
        """Steps of all whole checkpoints, ascending; none of them is verified here."""
        if not self._directory.is_dir():
            return []
        matches = (_NAME.fullmatch(path.name) for path in self._directory.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def path_of(self, step: int) -> Path:
        """The folder of that step's checkpoint."""
        return self._directory / f"step-{step:08d}"

    def save(self, step: int, state: TrainingState) -> Path:
        """Write beside, flush, rename: a killed run leaves the old checkpoints or the new one."""
        path = self.path_of(step)
        partial = path.with_name(f".{path.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)  # what a killed save left behind
        partial.mkdir(parents=True)
        for group, tensors in state.tensors.items():
            save_file(tensors, partial / f"{group}.safetensors")
        (partial / VALUES_NAME).write_text(json.dumps(state.values, indent=1))
        checksums = {file.name: sha256_of(file) for file in sorted(partial.iterdir())}
        manifest = {"format_version": FORMAT_VERSION, "step": step, "sha256": checksums}
        (partial / MANIFEST_NAME).write_text(json.dumps(manifest, indent=1))
        for file in partial.iterdir():
            sync_to_disk(file)
        sync_to_disk(partial)
        if path.exists():  # the same step, saved again after a resume
            shutil.rmtree(path)
        partial.rename(path)
        sync_to_disk(self._directory)
        for old in self.steps()[: -self._keep]:
            shutil.rmtree(self.path_of(old))
        return path

    def load(self, step: int) -> TrainingState:
        """Read a checkpoint on the CPU. Raises RunError if it is missing or damaged."""
        path = self.path_of(step)
        if not path.is_dir():
            have = ", ".join(str(known) for known in self.steps()) or "none"
            raise RunError(f"{path} does not exist", hint=f"checkpoints there are: {have}")
        problem = find_damage(path)
        if problem is not None:
            others = [known for known in self.steps() if known != step]
            raise RunError(
                f"{path} is damaged: {problem}",
                hint=f"go on from another one with --step {others[-1]}"
                if others
                else "there is no other checkpoint; start a new run",
            )
        try:
            return _read_state(path)
        except (SafetensorError, ValueError, RecursionError) as error:  # though its checksum holds
            raise RunError(
                f"{path} holds something else than a checkpoint: {error}",
                hint="it was not written by electra: take another one with --step, or start anew",
            ) from None

    def latest(self) -> int | None:
        """The newest step whose checkpoint verifies, or None."""
        for step in reversed(self.steps()):
            if find_damage(self.path_of(step)) is None:
                return step
        return None


def _read_state(path: Path) -> TrainingState:
    """The files that the manifest names, and no other that lies beside them."""
    names = json.loads((path / MANIFEST_NAME).read_text())["sha256"]
    files = [path / name for name in sorted(names) if name.endswith(".safetensors")]
    return TrainingState(
        tensors={file.stem: load_file(file) for file in files},
        values=json.loads((path / VALUES_NAME).read_text()),
    )


def find_damage(path: Path) -> str | None:
    """What is wrong with a checkpoint's files, or None if every checksum holds."""
    try:
        manifest = json.loads((path / MANIFEST_NAME).read_text())
        version, checksums = manifest["format_version"], dict(manifest["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"{MANIFEST_NAME} cannot be read"
    if version != FORMAT_VERSION:
        return f"format {version}, this program reads {FORMAT_VERSION}"
    for name, expected in checksums.items():
        file = path / name
        if Path(name).name != name or file.is_symlink():
            return f"{MANIFEST_NAME} names {name!r}, which is no file of the folder's own"
        if not file.is_file():
            return f"{name} is missing"
        if sha256_of(file) != expected:
            return f"{name} does not match its checksum"
    return None
