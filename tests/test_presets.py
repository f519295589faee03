import pytest

from electra_cli.config import (
    PretrainConfig,
    changeable_options,
    iter_options,
    option_table,
    reason_not_searched,
)
from electra_cli.errors import ConfigError
from electra_cli.finetuning.settings import FinetuneRecipe
from electra_cli.preset_reading import preset_folder, preset_names
from electra_cli.presets import (
    load_config,
    load_preset,
    load_recipe,
    save_config,
    save_preset,
    with_options,
)

PRESETS = ["base", "continue", "large", "mini", "small", "small++", "tiny"]


def test_these_are_the_presets():
    assert preset_names() == PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_parses_and_names_its_source(name):
    config = load_preset(name)
    text = (preset_folder() / f"{name}.yaml").read_text()
    assert text.startswith("#")
    assert isinstance(config, PretrainConfig)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_lists_only_what_differs_from_the_defaults(name):
    import yaml

    sections = yaml.safe_load((preset_folder() / f"{name}.yaml").read_text()) or {}
    defaults = PretrainConfig().model_dump()
    resolved = load_preset(name).model_dump()
    for section, options in sections.items():
        for key in options:
            assert resolved[section][key] != defaults[section][key], f"{section}.{key}"


def test_fractions_and_floats_are_read_as_people_write_them(tmp_path):
    preset = tmp_path / "mine.yaml"
    preset.write_text("model: {generator_width: 1/4}\noptim: {learning_rate: 5e-4}\n")
    config = load_preset(str(preset))
    assert config.model.generator_width == 0.25
    assert config.optim.learning_rate == 5e-4  # PyYAML reads 5e-4 as text


def test_what_comes_later_wins():
    config = load_preset("small", {"run.num_steps": 5}, ["run.num_steps=7", "run.seed=3"])
    assert (config.run.num_steps, config.run.seed) == (7, 3)


def test_set_reaches_every_option():
    values = {"data.directory": "here", "run.device": "cpu", "run.precision": "fp32"}
    for name, option in iter_options():
        value = values.get(name, option.default)
        text = "null" if value is None else str(value).lower() if value is True else str(value)
        text = "[]" if value == () else text
        config = load_preset("base", assignments=[f"{name}={text}"])
        section, key = name.split(".")
        found = getattr(getattr(config, section), key)
        assert str(found) == str(value), name


@pytest.mark.parametrize(
    ("assignment", "problem", "hint"),
    [
        ("optim.learning_rat=1", "unknown option 'optim.learning_rat'", "optim.learning_rate?"),
        ("learning_rate=1", "unknown option 'learning_rate'", "optim.learning_rate?"),
        ("model.learning_rate=1", "unknown option", "optim.learning_rate?"),
        ("optim.learning_rate", "there is no =", "section.key=value"),
        ("optim.learning_rate=-1", "optim.learning_rate = -1", "Peak learning rate"),
        ("optim.learning_rate=fast", "'fast'", "Peak learning rate"),
        ("run.batch_size=1.5", "run.batch_size = 1.5", "Windows per optimizer step"),
        ("run.precision=fp8", "'fp8'", "Matmul precision"),
        ("data.max_seq_length=1024", "max_position_embeddings 512", "--set"),
        ("run.micro_batch_size=7", "no multiple", "--set"),
        ("model.hidden_size=100", "no multiple", "--set"),
        ("run.eval_every=150", "no multiple of log_every", "--set"),
        ("model.tie_encoders=true", "tie_encoders needs generator_width 1", "--set"),
        ("model.generator_width=a/b", "model.generator_width", "Generator's width"),
        ("model.generator_width=1/0", "model.generator_width", "Generator's width"),
        ("optim.learning_rate=.nan", "optim.learning_rate", "Peak learning rate"),
    ],
)
def test_a_value_that_does_not_fit_is_explained(assignment, problem, hint):
    with pytest.raises(ConfigError) as raised:
        load_preset("base", assignments=[assignment])
    assert problem in str(raised.value)
    assert hint in raised.value.hint
    assert "\n" not in str(raised.value) + raised.value.hint


def test_an_unknown_preset_suggests_the_nearest():
    with pytest.raises(ConfigError) as raised:
        load_preset("smal")
    assert "did you mean small?" in raised.value.hint


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("run: {num_step: 5}", "unknown option 'run.num_step'"),
        ("runs: {num_steps: 5}", "unknown section 'runs'"),
        ("run: [1, 2]", "sections"),
        ("- 1", "sections"),
        ("run: {num_steps: [}", "not valid YAML"),
        ("run: !!python/object/apply:os.system [echo hacked]", "not valid YAML"),
    ],
)
def test_a_preset_file_that_does_not_fit_is_explained(tmp_path, text, problem):
    preset = tmp_path / "mine.yaml"
    preset.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load_preset(str(preset))
    assert problem in str(raised.value)
    assert str(preset) in str(raised.value)
    assert "\n" not in str(raised.value) + raised.value.hint


def test_a_missing_preset_file_is_explained(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_preset(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize("name", PRESETS)
def test_a_saved_config_is_the_same_when_read(tmp_path, name):
    config = load_preset(name, {"data.directory": "/some/where"})
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


def test_the_option_table_has_every_option():
    table = option_table()
    assert all(f"`{name}`" in table for name, _ in iter_options())


def test_a_saved_preset_keeps_a_weight_that_is_only_the_usual_one_elsewhere(tmp_path):
    config = load_preset("tiny", {"objective.name": "replace_mlm"})
    changed = with_options(config, {"objective.discriminator_loss_weight": 50}, "test")
    save_preset(changed, tmp_path / "saved.yaml", "")
    assert load_preset(str(tmp_path / "saved.yaml")) == changed


def test_what_may_change_on_resume_and_be_searched_stands_at_the_option():
    changeable = changeable_options()
    assert "run.micro_batch_size" in changeable
    assert "optim.learning_rate" not in changeable
    assert reason_not_searched("run.seed") == "a better seed is luck, not a better setting"
    assert reason_not_searched("optim.learning_rate") is None


def test_a_preset_may_hold_what_finetune_takes(tmp_path):
    preset = tmp_path / "mine.yaml"
    preset.write_text(
        "model: {num_hidden_layers: 3}\nfinetune: {epochs: 7, seeds: 3}\ntune: {run.seed: [1]}\n"
    )
    assert load_preset(str(preset)).model.num_hidden_layers == 3
    options = {"finetune.batch_size": 16, "finetune.seeds": "4,5"}
    found = load_recipe(FinetuneRecipe, str(preset), options, ["finetune.epochs=8"]).finetune
    assert (found.epochs, found.batch_size, found.seeds) == (8, 16, (4, 5))
    assert load_recipe(FinetuneRecipe, str(preset), {}).finetune.seeds == (0, 1, 2)
    preset.write_text("finetune: {epoch: 7}\n")
    with pytest.raises(ConfigError, match=r"unknown option 'finetune\.epoch'") as caught:
        load_recipe(FinetuneRecipe, str(preset), {})
    assert caught.value.hint == "did you mean finetune.epochs?"
