import json
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from run_checks import damage
from safetensors.torch import save_file

from electra_cli.errors import DiskFullError, RunError
from electra_cli.training import checkpoint
from electra_cli.training.checkpoint import Checkpoint, CheckpointManager
from electra_cli.training.checkpoint_damage import FORMAT_VERSION, find_damage
from electra_cli.training.run_state import BatchesState, RunState, TrainerState

THREADS = Path("/proc/self/task")


def run_state(step: int) -> RunState:
    return RunState(
        trainer=TrainerState(
            step=step,
            tokens_seen=1000,
            train_flops=1e9 / 3,
            elapsed_seconds=2.5,
            seconds_since_row=0.1,
            tokens_since_row=10,
            masked_since_row=2,
            scaler={"scale": 65536.0, "_growth_tracker": 3},
        ),
        batches=BatchesState(epoch=1, index=8, num_windows=40, num_read=6, skipped=(2, 4)),
        log_rows=3,
        config={"run": {"seed": 0, "device": "cpu", "keep_every": None}},
        tokenizer_sha256="12ab",
        data_sha256="34cd",
    )


def make_checkpoint(value: float) -> Checkpoint:
    tensors = {"model": {"weight": torch.full((3, 4), value)}, "random": {"cpu": torch.arange(5)}}
    return Checkpoint(tensors, run_state(int(value)))


@pytest.fixture
def manager(tmp_path) -> Iterator[CheckpointManager]:
    manager = CheckpointManager(tmp_path / "checkpoints", keep=2)
    yield manager
    manager.close()


def save(manager: CheckpointManager, *steps: int) -> Path:
    for step in steps:
        manager.save(step, make_checkpoint(step))
    manager.wait()
    return manager.path_of(steps[-1])


def test_what_is_saved_is_loaded(manager):
    assert save(manager, 7).name == "step-00000007"
    loaded = manager.load(7)
    assert torch.equal(loaded.tensors["model"]["weight"], torch.full((3, 4), 7.0))
    assert torch.equal(loaded.tensors["random"]["cpu"], torch.arange(5))
    assert loaded.state == run_state(7)
    assert isinstance(loaded.state.trainer.scaler["_growth_tracker"], int)


def test_the_next_step_may_change_what_is_being_saved(manager):
    weight = torch.arange(4_000_000, dtype=torch.float32).reshape(2_000, 2_000).T
    expected = weight.clone()
    manager.save(1, Checkpoint({"model": {"weight": weight}}, run_state(1)))
    weight.zero_()
    manager.wait()
    assert torch.equal(manager.load(1).tensors["model"]["weight"], expected)


@pytest.mark.skipif(not THREADS.is_dir(), reason="threads are counted on Linux")
def test_a_save_starts_no_further_threads_of_torch(manager):
    # With more of them than cores libgomp lets all sleep at each product.
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        large = torch.ones(1_000_000)
        large.add_(1)  # this thread's own team
        known = set(THREADS.iterdir())
        manager.save(1, Checkpoint({"model": {"weight": large}}, run_state(1)))
        manager.wait()
        new = set(THREADS.iterdir()) - known
    finally:
        torch.set_num_threads(before)
    assert len(new) == 1  # the one that writes


def test_a_save_returns_before_the_disk_has_it(manager, monkeypatch):
    write_files = checkpoint._write_files

    disk_answers = threading.Event()

    def slow_disk(*arguments):
        assert disk_answers.wait(timeout=60)
        write_files(*arguments)

    monkeypatch.setattr(checkpoint, "_write_files", slow_disk)
    manager.save(1, make_checkpoint(1))
    manager.check()
    assert manager.steps() == []
    disk_answers.set()
    manager.save(2, make_checkpoint(2))  # waits for the first
    assert manager.steps() == [1]
    manager.wait()
    assert manager.steps() == [1, 2]


def test_the_newest_are_kept(manager):
    path = save(manager, 1, 5, 9)
    assert manager.steps() == [5, 9]
    assert sorted(each.name for each in path.parent.iterdir()) == ["step-00000005", "step-00000009"]
    assert manager.load_newest().step == 9


def test_every_nth_is_kept_beside_the_newest(tmp_path):
    manager = CheckpointManager(tmp_path, keep=1, keep_every=4)
    save(manager, 0, 2, 4, 6, 8, 10, 12, 14)
    assert manager.steps() == [4, 8, 12, 14]
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        f"step-{step:08d}" for step in (4, 8, 12, 14)
    ]
    manager.close()


def test_nothing_saved_is_no_checkpoint(manager):
    assert manager.steps() == []
    assert manager.load_newest() is None


def test_a_half_written_checkpoint_is_none(manager, tmp_path):
    save(manager, 1)
    left_over = [tmp_path / "checkpoints" / f".step-00000002.{how}" for how in ("partial", "old")]
    for folder in left_over:
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"half")
    assert manager.steps() == [1]
    save(manager, 2)  # what a killed save left behind is no hindrance
    assert manager.load_newest().step == 2
    assert not any(folder.exists() for folder in left_over)


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("how", ["truncate", "flip", "remove", "zero"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(manager, name, how):
    path = save(manager, 1, 2)
    damage(path / name, how)
    with pytest.raises(RunError, match="damaged") as raised:
        manager.load(2)
    assert "--step 1" in raised.value.hint
    newest = manager.load_newest()
    assert newest.step == 1
    assert list(newest.damaged) == [path]
    assert name in newest.damaged[path]
    assert path.is_dir()  # left where it is


def test_every_flipped_bit_is_found(manager):
    """Also those in the manifest itself: 300 of them, spread over all files by a seed."""
    path = save(manager, 1)
    files = sorted(path.iterdir())
    draw = random.Random(0)
    for _ in range(300):
        file = draw.choice(files)
        content = file.read_bytes()
        flipped = bytearray(content)
        flipped[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        file.write_bytes(flipped)
        assert find_damage(path, 1) is not None, (file.name, bytes(flipped))
        file.write_bytes(content)
    assert find_damage(path, 1) is None


def test_damaged_ones_do_not_count_as_kept(manager):
    path = save(manager, 2, 3)
    damage(path / "model.safetensors", "flip")
    assert manager.load_newest().step == 2
    save(manager, 4)
    assert manager.steps() == [2, 3, 4]  # two good ones, and the damaged one where it was
    save(manager, 3)  # made again
    assert find_damage(path, 3) is None
    assert manager.steps() == [3, 4]


def test_nothing_old_is_removed_before_the_new_one_reads_back_right(manager, monkeypatch):
    """A disk that loses bits: the write succeeds, what comes back is something else."""
    save(manager, 1, 2)

    def lossy(tensors, path):
        save_file({name: tensor + (tensor == 3) for name, tensor in tensors.items()}, path)

    monkeypatch.setattr(checkpoint, "save_file", lossy)
    manager.save(3, make_checkpoint(3))
    with pytest.raises(RunError, match="reads back differently; the last good checkpoint is 2"):
        manager.wait()
    assert manager.steps() == [1, 2]


def test_a_file_that_reads_back_as_nothing_of_its_kind_is_no_checkpoint(manager, monkeypatch):
    save(manager, 1, 2)

    def lossy(tensors, path):
        save_file(tensors, path)
        content = bytearray(path.read_bytes())
        content[8] ^= 1  # where the header begins
        path.write_bytes(content)

    monkeypatch.setattr(checkpoint, "save_file", lossy)
    manager.save(3, make_checkpoint(3))
    with pytest.raises(RunError, match="reads back differently; the last good checkpoint is 2"):
        manager.wait()
    assert manager.steps() == [1, 2]


def test_a_save_that_failed_is_raised_at_the_next_call(tmp_path):
    (tmp_path / "checkpoints").write_text("no folder")
    manager = CheckpointManager(tmp_path / "checkpoints", keep=2)
    manager.save(1, make_checkpoint(1))
    with pytest.raises(RunError, match="step-00000001 could not be saved"):
        manager.save(2, make_checkpoint(2))
    manager.close()


def test_a_full_disk_harms_no_older_checkpoint(tiny_disk):
    manager = CheckpointManager(tiny_disk / "checkpoints", keep=1)
    save(manager, 1)
    (tiny_disk / "filler").write_bytes(bytes(900_000))
    big = Checkpoint({"model": {"weight": torch.zeros(100_000)}}, run_state(2))
    manager.save(2, big)
    with pytest.raises(DiskFullError, match=r"No space left on device; the last good .* is 1"):
        manager.wait()
    assert [path.name for path in (tiny_disk / "checkpoints").iterdir()] == ["step-00000001"]
    (tiny_disk / "filler").unlink()
    manager.save(2, big)
    manager.wait()
    assert manager.steps() == [2]
    manager.close()


def test_later_ones_are_set_aside(manager, tmp_path):
    save(manager, 3, 6)
    assert [path.name for path in manager.set_aside_after(3)] == ["aside-step-00000006"]
    assert manager.steps() == [3]
    save(manager, 6)
    assert [path.name for path in manager.set_aside_after(3)] == ["aside-2-step-00000006"]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "aside-2-step-00000006",
        "aside-step-00000006",
        "step-00000003",
    ]


def test_a_missing_step_lists_those_there_are(manager):
    save(manager, 3)
    with pytest.raises(RunError, match="step-00000004 does not exist") as raised:
        manager.load(4)
    assert raised.value.hint == "checkpoints there are: 3"


def test_another_format_is_refused_and_never_passed_over(manager):
    path = save(manager, 3, 4)
    manifest = {"format_version": 1, "step": 4, "sha256": {}}
    (path / "manifest.json").write_text(json.dumps(manifest))
    refusal = f"has format 1, this program reads format {FORMAT_VERSION}"
    for load in (lambda: manager.load(4), manager.load_newest):
        with pytest.raises(RunError, match=refusal):
            load()


def test_what_electra_did_not_write_is_told_apart_from_damage(manager):
    state = run_state(1).model_copy(update={"log_rows": -1})
    manager.save(1, Checkpoint({"model": {"weight": torch.zeros(2)}}, state))
    manager.wait()
    assert find_damage(manager.path_of(1), 1) is None
    with pytest.raises(RunError, match="step-00000001 holds something else than a checkpoint: "):
        manager.load(1)


def test_paths_in_any_script_are_saved_as_ascii_so_that_no_locale_matters(manager):
    state = run_state(1).model_copy(update={"config": {"data": {"directory": "/data/日本"}}})
    manager.save(1, Checkpoint({"model": {"weight": torch.zeros(2)}}, state))
    manager.wait()
    assert (manager.path_of(1) / "state.json").read_bytes().isascii()
    assert manager.load(1).state == state


def test_everything_is_flushed_to_the_disk_before_it_counts(manager, tmp_path, monkeypatch):
    flushed = []
    fsync = os.fsync

    def recording(descriptor: int) -> None:
        flushed.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    log = tmp_path / "training_log.csv"
    log.write_text("step\n")
    monkeypatch.setattr(os, "fsync", recording)
    manager.save(3, make_checkpoint(3), after=[log])
    manager.wait()
    partial = str(tmp_path / "checkpoints" / ".step-00000003.partial")
    files = ["manifest.json", "model.safetensors", "random.safetensors", "state.json"]
    assert {*(f"{partial}/{name}" for name in files), partial, str(log)} <= set(flushed)
    assert flushed[-1] == str(tmp_path / "checkpoints")  # after the folder got its name


def test_what_is_compared_with_memory_comes_from_the_disk(manager, monkeypatch):
    """The system drops from its cache only what was flushed before."""
    calls = []

    def record(name: str) -> None:
        real = getattr(os, name)

        def recording(descriptor: int, *arguments: int) -> None:
            calls.append((name, Path(f"/proc/self/fd/{descriptor}").readlink().name))
            real(descriptor, *arguments)

        monkeypatch.setattr(os, name, recording)

    record("fsync")
    record("posix_fadvise")
    save(manager, 3)
    for file in ("model.safetensors", "random.safetensors", "state.json"):
        assert calls.index(("fsync", file)) < calls.index(("posix_fadvise", file))


def test_a_checkpoint_of_format_2_is_read():
    folder = Path(__file__).parents[1] / "made_by_0.1.0" / "runs" / "stopped" / "checkpoints"
    manager = CheckpointManager(folder, keep=1)
    assert manager.load_newest().step == 16
    loaded = manager.load(16)
    assert loaded.state.trainer.step == 16
    assert set(loaded.tensors) == {"model", "optimizer", "sums"}
    assert loaded.tensors["sums"]["predicted"] > 0
    assert "words" not in loaded.tensors["sums"]  # ELECTRA has no such sum
    manager.close()


def test_a_save_that_failed_is_told_at_the_next_look(tmp_path):
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    manager = CheckpointManager(tmp_path / "checkpoints", keep=1)
    manager.save(1, make_checkpoint(1))
    with pytest.raises(RunError, match="could not be saved"):
        for _ in range(600):
            manager.check()
            time.sleep(0.05)
    manager.check()  # told once
    manager.close()
