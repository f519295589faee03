"""CheckpointManager: checkpoints are complete or absent, and are verified before use.

A checkpoint is a folder of safetensors files, one JSON file of plain values, and a manifest with
the SHA-256 of each. Nothing in it is ever unpickled.
"""

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from electra_cli.disk import (
    as_os_error,
    drop_from_cache,
    is_full,
    replace_folder,
    set_aside,
    sha256_of,
    step_folder,
    steps_of_folders,
    sync_to_disk,
)
from electra_cli.errors import DiskFullError, RunError
from electra_cli.training.checkpoint_damage import (
    FORMAT_VERSION,
    MANIFEST_NAME,
    find_damage,
    seal_of,
)
from electra_cli.training.run_state import SUMS_OF_FORMAT_2, RunState, state_of_format_2
from electra_cli.training.trainer import Tensors

VALUES_NAME = "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on as if nothing had happened."""

    tensors: Tensors
    state: RunState


@dataclass(frozen=True)
class Loaded:
    """The newest checkpoint that verified, and what is wrong with those after it."""

    step: int
    checkpoint: Checkpoint
    damaged: dict[Path, str]


class CheckpointManager:
    """The checkpoints of one run, step-00001000/ and so on, written in a background thread.

    Keeps the newest `keep`, those whose step is a multiple of `keep_every`, and with `keep_first`
    that of step 0.
    """

    def __init__(
        self, directory: Path, keep: int, keep_every: int | None = None, keep_first: bool = False
    ) -> None:
        self._directory = directory
        self._keep = keep
        self._keep_every = keep_every
        self._keep_first = keep_first
        self._damaged: set[int] = set()
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None

    def steps(self) -> list[int]:
        """Steps of all whole checkpoints, ascending; none of them is verified here."""
        return steps_of_folders(self._directory)

    def path_of(self, step: int) -> Path:
        """The folder of that step's checkpoint."""
        return step_folder(self._directory, step)

    def save(self, step: int, checkpoint: Checkpoint, after: Sequence[Path] = ()) -> None:
        """Copy the tensors to the host and begin to write all; training may go on at once.

        It appears once the files in `after`, which it relies on, are on the disk. Waits for the
        save before, if that is not done yet, and raises its error. The copy takes as much memory
        as weights and moments: 12 bytes per parameter.
        """
        self.wait()
        tensors = {
            group: {
                name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
                for name, tensor in named.items()
            }
            for group, named in checkpoint.tensors.items()
        }
        values = json.dumps(checkpoint.state.model_dump(mode="json"), indent=1)  # ASCII
        self._writing = self._thread.submit(self._write, step, tensors, values, after)

    def check(self) -> None:
        """Raise the error of a save that failed; does not wait for one under way."""
        if self._writing is not None and self._writing.done():
            self.wait()

    def wait(self) -> None:
        """Wait for the save under way. Raises DiskFullError or RunError if it failed."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        """End the thread, after the save under way. Errors are raised by wait(), not here."""
        self._thread.shutdown()

    def _write(self, step: int, tensors: Tensors, values: str, after: Sequence[Path]) -> None:
        """Write to a temporary folder, flush, read back, rename, then remove old checkpoints."""
        path = self.path_of(step)
        try:
            for left_over in self._directory.glob(".step-*"):  # of a killed save
                shutil.rmtree(left_over)
            with replace_folder(path) as partial:  # sets a damaged one aside
                _write_files(partial, step, tensors, values)
                for file in after:
                    sync_to_disk(file)
            self._damaged.discard(step)
            self._prune()
        except OSError as error:
            reason = error.strerror or str(error)
            kept = [known for known in self.steps() if known not in self._damaged]
            raise (DiskFullError if is_full(error) else RunError)(
                f"{path} could not be saved: {reason}; "
                + (f"the last good checkpoint is {kept[-1]}" if kept else "there is none yet"),
                hint="make room on the disk, or check the disk for errors",
            ) from error

    def _prune(self) -> None:
        """Remove what none of the three keeps; damaged ones are not counted."""
        good = [step for step in self.steps() if step not in self._damaged]
        for step in good[: -self._keep]:
            is_in_turn = self._keep_every and step and step % self._keep_every == 0
            if is_in_turn or (self._keep_first and not step):
                continue
            path = self.path_of(step)
            removed = path.rename(path.with_name(f".{path.name}.removed"))
            shutil.rmtree(removed)  # a kill in here leaves nothing that looks like a checkpoint

    def set_aside_after(self, step: int) -> list[Path]:
        """Rename the checkpoints after `step`, so that a run resumed there never uses them.

        Damaged ones stay where they are: they are never used.
        """
        renamed = []
        for later in self.steps():
            if later > step and later not in self._damaged:
                renamed.append(set_aside(self.path_of(later)))
        return renamed

    def load(self, step: int) -> Checkpoint:
        """Read a checkpoint on the CPU. Raises RunError if it is missing or damaged."""
        path = self.path_of(step)
        if not path.is_dir():
            have = ", ".join(str(known) for known in self.steps()) or "none"
            raise RunError(f"{path} does not exist", hint=f"checkpoints there are: {have}")
        problem = find_damage(path, step)
        if problem is not None:
            self._damaged.add(step)
            others = [known for known in self.steps() if known not in self._damaged]
            raise RunError(
                f"{path} is damaged: {problem}",
                hint=f"go on from another one with --step {others[-1]}"
                if others
                else "there is no other checkpoint; begin again with --step 0",
            )
        return _read_checkpoint(path)

    def load_newest(self, before: int | None = None) -> Loaded | None:
        """The newest checkpoint that verifies, of those before a step.

        None if there is none, good or bad. Raises RunError if there are some and all are damaged.
        """
        damaged: dict[Path, str] = {}
        for step in reversed(self.steps()):
            if before is not None and step >= before:
                continue
            path = self.path_of(step)
            problem = find_damage(path, step)
            if problem is None:
                return Loaded(step, _read_checkpoint(path), damaged)
            self._damaged.add(step)
            damaged[path] = problem
        if damaged:
            named = "; ".join(f"{path.name}: {problem}" for path, problem in damaged.items())
            raise RunError(
                f"{self._directory} has no good checkpoint ({named})",
                hint="copy one back from a backup, or begin again in the same folder with --step 0",
            )
        return None


def _write_files(folder: Path, step: int, tensors: Tensors, values: str) -> None:
    """All files of a checkpoint, read back from the disk and compared; replace_folder flushes."""
    (folder / VALUES_NAME).write_text(values)
    for group, named in tensors.items():
        try:
            save_file(named, folder / f"{group}.safetensors")
        except SafetensorError as error:
            reason = as_os_error(error)
            if reason is None:
                raise
            raise reason from error
    files = sorted(folder.iterdir())
    for file in files:
        sync_to_disk(file)
        drop_from_cache(file)
    manifest: dict[str, Any] = {"format_version": FORMAT_VERSION, "step": step}
    manifest["sha256"] = {file.name: sha256_of(file) for file in files}
    # Compare what was read back from disk with memory.
    try:
        is_same = (folder / VALUES_NAME).read_text() == values and all(
            _holds(folder / f"{group}.safetensors", named) for group, named in tensors.items()
        )
    except (SafetensorError, ValueError):  # not even a file of its kind
        is_same = False
    if not is_same:
        raise OSError(None, "what was written reads back differently")
    manifest["manifest_sha256"] = seal_of(manifest)
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest, indent=1))


def _holds(file: Path, tensors: dict[str, Tensor]) -> bool:
    """Whether a file gives back the same bits.

    Compared by numpy, in this thread alone: torch would start a team of OpenMP threads for it, and
    with more of them than cores libgomp (env.c, gomp_throttled_spin_count_var) lets all threads
    sleep at each product. A step of `tiny` on two cores took 1.2 times as long from then on.
    """

    def bits(tensor: Tensor) -> npt.NDArray[np.uint8]:
        return tensor.reshape(-1).view(torch.uint8).numpy()

    written = load_file(file)
    return written.keys() == tensors.keys() and all(
        np.array_equal(bits(written[name]), bits(tensor)) for name, tensor in tensors.items()
    )


def _read_checkpoint(path: Path) -> Checkpoint:
    """The files that the manifest names, and no other that lies beside them."""
    try:
        manifest = json.loads((path / MANIFEST_NAME).read_text())
        names = [name for name in sorted(manifest["sha256"]) if name.endswith(".safetensors")]
        tensors = {Path(name).stem: load_file(path / name) for name in names}
        values = json.loads((path / VALUES_NAME).read_text())
        if manifest["format_version"] < 4:
            del tensors["random"]  # of a generator that dropout drew from
        if manifest["format_version"] == 2:
            values = state_of_format_2(values)
            sums = tensors.pop("window")["sums"].unbind()
            named = zip(SUMS_OF_FORMAT_2, sums, strict=True)
            tensors["sums"] = {name: value for name, value in named if value != 0}
        return Checkpoint(tensors, RunState.model_validate(values))
    # Its checksums are right, but electra did not write it.
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise RunError(
            f"{path} holds something else than a checkpoint: {reason}",
            hint="it was not written by electra: choose another with --step, or begin again with "
            "--step 0",
        ) from None
