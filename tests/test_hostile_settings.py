"""Whatever a preset, an option or a saved config holds: a valid config or a clear ConfigError."""

import datetime
import math
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from electra_cli.config import PretrainConfig, iter_options
from electra_cli.errors import ConfigError
from electra_cli.preset_reading import MAX_FILE_BYTES
from electra_cli.presets import load_config, load_preset, save_config

LONGEST_MESSAGE = 1_500  # the list of all options is the longest hint

OPTIONS = [name for name, _ in iter_options()]
SECTIONS = list(PretrainConfig.model_fields)

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**40), 10**40)
    | st.sampled_from([2**63, 2**64, 10**400, -(10**400)])
    | st.floats()
    | st.text()
    | st.binary(max_size=20)
    | st.dates()
    | st.datetimes()
    | st.sampled_from(["1/3", "1/0", "9" * 4000 + "/3", "0x", "1:99", "0b_", ".", "-", "=", "<<"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(scalars, inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("presets")


def check(preset: str, assignments: tuple[str, ...] = (), folder: Path | None = None) -> bool:
    """Whether there is a config; if so it is saved and read again, if not the error is clear."""
    try:
        config = load_preset(preset, {}, assignments)
    except ConfigError as error:
        for text in (str(error), error.hint):
            assert text
            assert len(text) < LONGEST_MESSAGE + len(preset)
        # What a path holds is made visible where it is shown (tests/test_console.py).
        assert "\n" not in (str(error) + error.hint).replace(preset, "")
        return False
    if folder is not None:
        save_config(config, folder / "config.yaml")
        assert load_config(folder / "config.yaml") == config
    return True


def check_file(content: str | bytes, folder: Path) -> bool:
    path = folder / "mine.yaml"
    path.write_bytes(
        content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    )
    return check(str(path), folder=folder)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(values)
def test_any_structure_is_a_config_or_a_clear_error(folder, content):
    check_file(yaml.dump(content, allow_unicode=True), folder)


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(st.dictionaries(st.sampled_from(OPTIONS), values, min_size=1, max_size=3))
def test_any_value_of_a_known_option_is_a_config_or_a_clear_error(folder, chosen):
    sections: dict[str, dict[str, object]] = {}
    for name, value in chosen.items():
        section, key = name.split(".")
        sections.setdefault(section, {})[key] = value
    check_file(yaml.safe_dump(sections), folder)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_file_is_a_config_or_a_clear_error(folder, content):
    check_file(content, folder)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(["", *(f"{name}=" for name in OPTIONS)]), st.text())
def test_any_assignment_is_a_config_or_a_clear_error(folder, start, text):
    check("base", (start + text,), folder)


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_any_name_of_a_preset_is_a_config_or_a_clear_error(name):
    check(name)
    check(f"{name}.yaml")


def nested_aliases(levels: int, merge: bool) -> str:
    """Billion laughs: each of the lines stands for nine times the one before."""
    lines = ["a: &a0 {seed: 1}"]
    for level in range(levels):
        nine = ", ".join([f"*a{level}"] * 9)
        lines.append(f"l{level}: &a{level + 1} " + (f"{{<<: [{nine}]}}" if merge else f"[{nine}]"))
    return "\n".join([*lines, f"run: {{seed: *a{levels}}}"])


@pytest.mark.parametrize(
    "content",
    [
        "run: {seed: " + "[" * 20_000 + "]" * 20_000 + "}",
        "run: " + "{a: " * 5_000 + "1" + "}" * 5_000,
        "- " * 5_000,
        nested_aliases(30, merge=False),
        nested_aliases(30, merge=True),
        "run: &a {seed: *a}",
        "run: {seed: &a [*a]}",
        "&a run: {seed: 1}\nother: *a",
        "1: {2: 3}",
        "run: {2: 3}",
        "null: {a: 1}",
        "? [1]\n: {a: 1}",
        "run: {seed: " + "9" * 5_000 + "}",
        "run: {seed: 0x" + "f" * 5_000 + "}",
        "run: {seed: 0b_}",
        "run: {seed: 2020-99-99}",
        "run: {seed: !!timestamp x}",
        "run: {seed: !!int x}",
        "run: {seed: !!bool x}",
        "run: {seed: !!float x}",
        "run: {device: !!binary x}",
        "run: !!set {seed}",
        "run: {seed: =}",
        'data: {directory: "a\\0b"}',
        'data: {directory: "\\ud800"}',
        "run: {device: a\0b}",
        "run: {num_steps: true}",
        "model: {generator_width: " + "9" * 4_000 + "/3}",
        "model: {hidden_size: 1000000000000, num_attention_heads: 1}",
        "model: {num_hidden_layers: 1000000000}",
        "run: {batch_size: 1" + "0" * 400 + "}",
        b"\xff\xfe\x00",
        b"run: {device: \xe9}",
        "run: {device: '" + "x" * MAX_FILE_BYTES + "'}",
        "---\nrun: {}\n---\nrun: {}\n",
    ],
    ids=lambda content: content[:24],
)
def test_what_would_break_a_parser_is_refused(folder, content):
    assert not check_file(content, folder)


@pytest.mark.parametrize(
    "name", ["x" * 5_000, "x" * 5_000 + ".yaml", "a\0b", "a\0.yaml", "\ud800", "/"]
)
def test_what_is_no_path_is_no_preset(name):
    assert not check(name)


def test_a_file_without_an_end_is_no_preset(tmp_path):
    (tmp_path / "endless.yaml").symlink_to("/dev/zero")
    assert not check(str(tmp_path / "endless.yaml"))


def test_a_section_or_an_option_given_twice_is_refused_since_one_would_be_lost(folder):
    assert not check_file("run: {seed: 1}\noptim: {}\nrun: {batch_size: 8}", folder)
    assert not check_file("run: {seed: 1, batch_size: 8, seed: 2}", folder)
    assert check_file("run: {seed: 1, batch_size: 8}", folder)


def test_dates_and_not_a_number_are_no_values(folder):
    for value in (datetime.date(2026, 1, 1), math.nan, math.inf, "2026-01-01"):
        assert not check_file(yaml.safe_dump({"run": {"seed": value}}), folder)
        assert not check_file(yaml.safe_dump({"optim": {"learning_rate": value}}), folder)


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system", "!!python/name:os.system", "!x"]
)
def test_a_tag_runs_nothing(folder, tag):
    marker = folder / "ran"
    assert not check_file(f"run: {{seed: {tag} ['touch {marker}']}}", folder)
    assert not check("base", (f"run.seed={tag} ['touch {marker}']",))
    assert not marker.exists()
