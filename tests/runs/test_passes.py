import pytest
import torch
from conftest import tiny_config
from tiny_session import open_tiny

from electra_cli.model.objectives.objective import Objective
from electra_cli.presets import load_preset
from electra_cli.runs.passes import can_record, hint_at_graphs
from electra_cli.training.device import Compute
from electra_cli.training.processes import ALONE

GPU = Compute(torch.device("cuda"), "bf16", has_flash=True)


def test_what_is_compiled_or_recomputed_is_what_the_settings_say(tmp_path, prepared, monkeypatch):
    done = []
    for name in ("compile_encoders", "enable_gradient_checkpointing"):
        monkeypatch.setattr(Objective, name, lambda self, name=name: done.append(name))
    open_tiny(tmp_path / "plain", prepared).close()
    assert done == []
    open_tiny(tmp_path / "compiled", prepared, compile=True).close()
    assert done == ["compile_encoders"]
    open_tiny(tmp_path / "recomputed", prepared, gradient_checkpointing=True).close()
    assert done[1:] == ["enable_gradient_checkpointing"]


@pytest.mark.parametrize(
    ("changed", "flash", "is_recorded"),
    [
        ({"run": {"cuda_graphs": True}}, True, True),
        ({"run": {"cuda_graphs": True, "compile": True}}, True, True),
        ({}, True, False),
        ({"run": {"cuda_graphs": True}}, False, False),
        ({"run": {"cuda_graphs": True, "gradient_checkpointing": True}}, True, False),
        (
            {
                "run": {"cuda_graphs": True},
                "objective": {"name": "electra", "discriminator_start_step": 1},
            },
            True,
            False,
        ),
    ],
)
def test_encoders_are_recorded_where_they_can_be(changed, flash, is_recorded):
    compute = Compute(torch.device("cuda"), "bf16", flash)
    assert can_record(tiny_config(**changed), compute) == is_recorded


def test_a_setting_that_changes_nothing_on_a_cpu_is_told(tmp_path, prepared, capsys):
    open_tiny(
        tmp_path / "run", prepared, compile=True, cuda_graphs=True, deterministic=True
    ).close()
    told = capsys.readouterr().err
    assert "warning: run.compile changes nothing on a CPU" in told
    assert "warning: run.cuda_graphs changes nothing here" in told
    assert "warning: run.deterministic changes nothing on cpu" in told


@pytest.mark.parametrize(
    ("preset", "options", "is_hinted"),
    [
        ("small", {}, True),
        ("small", {"run.cuda_graphs": True}, False),
        ("small", {"run.gradient_checkpointing": True}, False),
        ("base", {"run.micro_batch_size": 128}, False),
        ("base", {"run.micro_batch_size": 4}, True),
    ],
)
def test_graphs_are_hinted_at_where_they_would_help(preset, options, is_hinted, capsys):
    hint_at_graphs(load_preset(preset, options), 30_522, GPU, ALONE)
    assert ("--set run.cuda_graphs=true" in capsys.readouterr().err) == is_hinted
