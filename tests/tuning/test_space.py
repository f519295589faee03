"""The search space: a preset's tune: section, checked as the options are, or the default."""

from pathlib import Path

import pytest
import yaml

from electra_cli.config import PretrainConfig
from electra_cli.errors import ConfigError
from electra_cli.preset_reading import preset_names
from electra_cli.presets import load_preset, load_tune_section
from electra_cli.tuning.space import (
    WARMUP_FRACTION,
    Parameter,
    SearchSpace,
    apply_values,
    parse_space,
)


def space_of(text: str, preset: str = "small") -> SearchSpace:
    return parse_space(yaml.safe_load(text), load_preset(preset))


def test_every_kind_of_parameter_is_read():
    space = space_of(
        """
        optim.learning_rate: {low: 1e-4, high: 1e-3, log: true}
        optim.weight_decay: {low: 0, high: 0.1}
        model.num_hidden_layers: {low: 6, high: 12}
        model.generator_width: [1/4, 1/3, 1]
        model.position_init: [normal, sinusoidal]
        optim.warmup_fraction: {low: 0, high: 0.1}
        """
    )
    assert space.parameters == (
        Parameter("optim.learning_rate", 1e-4, 1e-3, log=True),
        Parameter("optim.weight_decay", 0.0, 0.1),
        Parameter("model.num_hidden_layers", 6, 12, is_integer=True),
        Parameter("model.generator_width", choices=(0.25, 1 / 3, 1.0)),
        Parameter("model.position_init", choices=("normal", "sinusoidal")),
        Parameter(WARMUP_FRACTION, 0.0, 0.1),
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("optim.learning_rate: {low: 0, high: 1}", "optim.learning_rate = 0: Input should be gr"),
        ("objective.mask_fraction: {low: 0.1, high: 1}", "mask_fraction = 1: Input should be less"),
        ("run.batch_size: {low: 64, high: 256.5}", "run.batch_size = 256.5"),
        ("run.batch_size: [0, 128]", "run.batch_size = 0"),
        ("model.position_init: [normal, other]", "model.position_init = 'other'"),
        ("model.position_init: {low: normal, high: sinusoidal}", "has no range"),
        ("data.max_seq_length: [128, 1024]", "longer than model.max_position_embeddings 512"),
        ("model.max_position_embeddings: [64, 512]", "max_seq_length 128 is longer than"),
        ("optim.weight_decay: {low: 0.1, high: 0.01}", "low 0.1 must be below high 0.01"),
        ("optim.weight_decay: {low: 0, high: 0.1, log: true}", "above 0 for a log scale"),
        ("optim.weight_decay: {low: 0, high: 0.1, logg: true}", "a range has low, high and log"),
        ("optim.weight_decay: {low: 0.05, high: 0.1}", "preset's own 0.01 is not in 0.05 to 0.1"),
        ("optim.weight_decay: [0.1]", "nothing to choose"),
        ("optim.weight_decay: 0.1", "neither a range nor a list"),
        ("optim.warmup_fraction: {low: 0, high: 2}", "optim.warmup_fraction = 2 is not from 0 to"),
        ("optim.num_warmup_steps: {low: 0, high: 9}", "search optim.warmup_fraction"),
        ("run.num_steps: {low: 1, high: 9}", "follows from the FLOPs"),
        ("run.seed: {low: 0, high: 9}", "a better seed is luck"),
        ("{}", "names no parameter"),
    ],
)
def test_what_an_option_does_not_take_is_refused(text, problem):
    with pytest.raises(ConfigError) as raised:
        space_of(text)
    assert problem in str(raised.value)
    assert raised.value.hint


def test_an_unknown_name_is_refused_with_the_nearest(tmp_path):
    preset = tmp_path / "mine.yaml"
    for wrong, right in (
        ("optim.learning_rat", "optim.learning_rate"),
        ("optim.warmup_fractoin", WARMUP_FRACTION),
    ):
        preset.write_text(f"tune: {{{wrong}: [1, 2]}}\n")
        with pytest.raises(ConfigError) as raised:
            load_tune_section(str(preset), (WARMUP_FRACTION,))
        assert f"tune: unknown option '{wrong}'" in str(raised.value)
        assert raised.value.hint == f"did you mean {right}?"


def test_training_ignores_the_tune_section(tmp_path):
    preset = tmp_path / "mine.yaml"
    preset.write_text("run: {batch_size: 64}\ntune: {run.batch_size: [64, 128]}\n")
    assert load_preset(str(preset)) == PretrainConfig.model_validate({"run": {"batch_size": 64}})
    assert load_tune_section(str(preset), ()) == {"run.batch_size": [64, 128]}


@pytest.mark.parametrize("name", preset_names())
def test_the_default_space_holds_every_preset(name):
    preset = load_preset(name)
    space = parse_space(None, preset)
    names = {
        "optim.learning_rate",
        WARMUP_FRACTION,
        "optim.weight_decay",
        "model.generator_width",
        "objective.mask_fraction",
        "objective.discriminator_loss_weight",
        "run.batch_size",
    }
    assert set(space.names) | set(space.left_out) == names
    assert set(space.left_out) == ({"model.generator_width"} if name in ("mini", "tiny") else set())
    rate = space.parameters[0]
    assert rate.log
    assert rate.low < preset.optim.learning_rate < rate.high


def test_what_cannot_vary_under_the_preset_is_left_out_with_its_reason():
    space = parse_space(None, load_preset("tiny"))
    assert "tie_encoders needs generator_width 1" in space.left_out["model.generator_width"]


def test_default_generators_differ_in_whole_heads():
    for name in ("small", "base", "large"):
        preset = load_preset(name)
        (widths,) = (p.choices for p in parse_space(None, preset).parameters if "width" in p.name)
        heads = [
            preset.model.model_copy(update={"generator_width": width}).generator_heads
            for width in widths
        ]
        assert len(set(heads)) == len(heads) >= 4


def test_default_batch_sizes_are_multiples_of_a_fixed_micro_batch():
    preset = load_preset("small", {"run.micro_batch_size": 64})
    (sizes,) = (p.choices for p in parse_space(None, preset).parameters if "batch" in p.name)
    assert sizes == (64, 128, 256)


def test_the_warm_up_keeps_its_share_of_the_steps():
    preset = load_preset("small")  # 10,000 of 1,000,000
    assert apply_values(preset, {}, 3_000).optim.num_warmup_steps == 30
    assert apply_values(preset, {}, 1_000_000) == preset
    changed = apply_values(preset, {WARMUP_FRACTION: 0.1, "run.batch_size": 64}, 3_000)
    assert (changed.optim.num_warmup_steps, changed.run.batch_size) == (300, 64)


def test_the_readme_and_the_help_show_a_section_that_is_valid(tmp_path):
    help_text = (Path(__file__).parents[2] / "electra_cli" / "cli" / "tune.py").read_text()
    (line,) = (line for line in help_text.splitlines() if line.strip().startswith("tune: {"))
    assert len(space_of(yaml.safe_dump(yaml.safe_load(line)["tune"])).parameters) == 2


def test_an_option_that_does_nothing_under_the_objective_is_not_searched():
    preset = load_preset("small", assignments=["objective.uniform_generator=true"])
    space = parse_space(None, preset)
    assert "model.generator_width" not in space.names
    assert "uniform_generator trains no generator" in space.left_out["model.generator_width"]
    with pytest.raises(ConfigError, match=r"temperature cannot be searched"):
        parse_space({"objective.temperature": [1, 2]}, preset)
