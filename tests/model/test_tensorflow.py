"""Checkpoints that TensorFlow wrote are read to the bit, and damaged ones are refused by name."""

import shutil
from pathlib import Path

import pytest
import torch
from golden_steps import GOLDEN, GoldenSteps

from electra_cli.errors import RunError
from electra_cli.model.tensor_bundle import find_bundle, read_bundle
from electra_cli.model.tensorflow import open_tensorflow

FOLDER = GOLDEN / "authors_checkpoint"  # written by TensorFlow 2.21 (make.py there)
PREFIX = "model.ckpt-0"


@pytest.fixture
def copy(tmp_path) -> Path:
    return shutil.copytree(FOLDER, tmp_path / "copy")


def test_the_weights_are_those_that_give_the_recorded_losses():
    """tests/training/test_golden_authors.py takes recorded steps from these weights."""
    prefix = find_bundle(FOLDER)
    assert prefix is not None
    main, generator = open_tensorflow("theirs", prefix, 4)
    assert generator is not None
    expected = GoldenSteps("authors_steps.npz").parameters("params/init")
    found = {f"discriminator.{name}": tensor for name, tensor in main.weights.items()}
    shared = {name for name in found if ".embeddings." in name}
    found |= {f"generator.{name}": tensor for name, tensor in generator.weights.items()}
    tied = {name.replace("discriminator.", "generator.") for name in shared}
    assert found.keys() - tied == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    for name in shared:
        assert found[name.replace("discriminator.", "generator.")] is found[name]
    sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "embedding_size",
             "intermediate_size", "vocab_size", "max_position_embeddings")  # fmt: skip
    assert [getattr(main.config, size) for size in sizes] == [64, 3, 4, 32, 256, 1000, 64]
    assert [getattr(generator.config, size) for size in sizes] == [32, 3, 1, 32, 128, 1000, 64]
    assert open_tensorflow("theirs", prefix, None)[0].config.num_attention_heads == 1


def test_moments_and_counts_are_left_out():
    assert not [
        name for name in open_tensorflow("x", FOLDER / PREFIX, 4)[0].weights if "adam" in name
    ]
    assert "global_step" not in read_bundle(FOLDER / PREFIX)


def test_of_several_checkpoints_the_named_one_is_read(copy):
    shutil.copy(copy / f"{PREFIX}.index", copy / "model.ckpt-5.index")
    assert find_bundle(copy) == copy / PREFIX
    (copy / "checkpoint").unlink()
    with pytest.raises(RunError, match=r"several checkpoints: model\.ckpt-0, model\.ckpt-5"):
        find_bundle(copy)
    assert find_bundle(copy.parent) is None


INDEX, DATA = f"{PREFIX}.index", f"{PREFIX}.data-00000-of-00001"


@pytest.mark.parametrize(
    ("file", "change", "problem"),
    [
        (INDEX, lambda old: old[:-1], "does not end as an index does"),
        (INDEX, lambda old: old[:40], "does not end as an index does"),
        (INDEX, lambda old: b"", "does not end as an index does"),
        (INDEX, lambda old: old[:100] + bytes([old[100] ^ 4]) + old[101:], "checksum is wrong"),
        (INDEX, lambda old: old[500:], "checksum is wrong|it is cut off"),
        (DATA, lambda old: old[:-4], "it has 923,304 bytes, its index 923,308"),
        (DATA, lambda old: None, "No such file or directory"),
    ],
)
def test_damage_is_named(copy, file, change, problem):
    path = copy / file
    content = change(path.read_bytes())
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunError, match=problem) as raised:
        open_tensorflow("theirs", copy / PREFIX, 4)
    assert file in str(raised.value)


def test_changed_bits_of_the_index_are_found(copy):
    """But for those in the empty metaindex and in unused bytes of the footer, which say nothing."""
    path = copy / INDEX
    content = path.read_bytes()
    expected = read_bundle(copy / PREFIX)
    silent = 0
    for place in range(0, len(content), 61):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            found = read_bundle(copy / PREFIX)
        except RunError:
            continue
        silent += 1
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], each) for name, each in expected.items())
    assert silent <= 3
