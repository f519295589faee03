import json

import pytest
import torch

from electra_cli.errors import RunError
from electra_cli.training.checkpoint import CheckpointManager, find_damage
from electra_cli.training.trainer import TrainingState


def make_state(value: float) -> TrainingState:
    tensors = {"model": {"weight": torch.full((3, 4), value)}, "random": {"cpu": torch.arange(5)}}
    return TrainingState(tensors, {"step": int(value), "note": [1, 2.5]})


@pytest.fixture
def manager(tmp_path) -> CheckpointManager:
    return CheckpointManager(tmp_path / "checkpoints", keep=2)


def test_what_is_saved_is_loaded(manager):
    path = manager.save(7, make_state(7))
    assert path.name == "step-00000007"
    loaded = manager.load(7)
    assert torch.equal(loaded.tensors["model"]["weight"], torch.full((3, 4), 7.0))
    assert torch.equal(loaded.tensors["random"]["cpu"], torch.arange(5))
    assert loaded.values == {"step": 7, "note": [1, 2.5]}


def test_the_newest_are_kept(manager):
    for step in (1, 5, 9):
        manager.save(step, make_state(step))
    assert manager.steps() == [5, 9]
    assert manager.latest() == 9


def test_nothing_saved_is_no_checkpoint(manager):
    assert manager.steps() == []
    assert manager.latest() is None


def test_a_half_written_checkpoint_is_none(manager, tmp_path):
    manager.save(1, make_state(1))
    partial = tmp_path / "checkpoints" / ".step-00000002.partial"
    partial.mkdir()
    (partial / "model.safetensors").write_bytes(b"half")
    assert manager.steps() == [1]
    manager.save(2, make_state(2))  # what a killed save left behind is no hindrance
    assert manager.latest() == 2
    assert not partial.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "zero"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_offered(manager, name, damage):
    manager.save(1, make_state(1))
    path = manager.save(2, make_state(2))
    file = path / name
    content = bytearray(file.read_bytes())
    if damage == "truncate":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 0x10
        file.write_bytes(content)
    elif damage == "zero":
        file.write_bytes(bytes(len(content)))
    else:
        file.unlink()
    assert find_damage(path) is not None
    assert manager.latest() == 1
    with pytest.raises(RunError, match="damaged") as raised:
        manager.load(2)
    assert "--step 1" in raised.value.hint
    assert path.is_dir()  # left where it is


def test_a_missing_step_lists_those_there_are(manager):
    manager.save(3, make_state(3))
    with pytest.raises(RunError) as raised:
        manager.load(4)
    assert "3" in raised.value.hint


def test_another_format_is_refused(manager):
    path = manager.save(3, make_state(3))
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "format_version": 99}))
    with pytest.raises(RunError, match="format 99"):
        manager.load(3)
