"""YAML presets and `--set section.key=value` -> a recipe.

A recipe is a PretrainConfig, or another model of sections whose options a preset may hold too.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from electra_cli import console
from electra_cli.config import PretrainConfig, Section, idle_options, iter_options
from electra_cli.disk import write_bytes_atomically
from electra_cli.errors import ConfigError
from electra_cli.preset_reading import nearest_or_all, preset_path, read_sections
from electra_cli.yaml_text import parse_yaml, shown, write_yaml

# A section of preset files only: what `electra tune` searches (electra_cli/tuning/space.py).
TUNE_SECTION = "tune"
# What `electra finetune` reads of a preset (electra_cli/finetuning/settings.py).
FINETUNE_SECTION = "finetune"

Recipe = TypeVar("Recipe", bound=Section)


def load_preset(
    preset: str, options: Mapping[str, Any] | None = None, assignments: Sequence[str] = ()
) -> PretrainConfig:
    """A preset's name or file, then options by `section.key`, then `section.key=value` texts.

    What comes later wins. Raises ConfigError, with the nearest name for an unknown one, and for
    one that does nothing under these settings.
    """
    sections = read_sections(preset_path(preset))
    for name in (TUNE_SECTION, FINETUNE_SECTION):
        sections.pop(name, None)
    written = {f"{section}.{key}" for section, keys in sections.items() for key in keys}
    config = _resolve(PretrainConfig, sections, preset, options or {}, assignments)
    names = (assignment.partition("=")[0].strip() for assignment in assignments)
    _refuse_idle(config, written, {*(options or ()), *names})
    return config


def written_value(
    preset: str, options: Mapping[str, Any], assignments: Sequence[str], name: str
) -> Any:
    """What an option is set to, before anything is validated; None where nothing sets it."""
    section, _, key = name.partition(".")
    value = options.get(name, read_sections(preset_path(preset)).get(section, {}).get(key))
    for assignment in assignments:
        assigned, _, text = assignment.partition("=")
        if assigned.strip() == name:
            value = text
    return value


def load_recipe(
    recipe: type[Recipe],
    preset: str | None,
    options: Mapping[str, Any],
    assignments: Sequence[str] = (),
) -> Recipe:
    """As load_preset, for a recipe that finds its own sections beside those of PretrainConfig."""
    sections = {} if preset is None else read_sections(preset_path(preset))
    for name in {*PretrainConfig.model_fields, TUNE_SECTION} - recipe.model_fields.keys():
        sections.pop(name, None)
    return _resolve(recipe, sections, preset or "--set", options, assignments)


def _resolve(
    recipe: type[Recipe],
    sections: dict[str, Any],
    source: str,
    options: Mapping[str, Any],
    assignments: Sequence[str],
) -> Recipe:
    for name, value in options.items():
        _assign(sections, name, value, recipe)
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        name = name.strip()
        if not separator:
            raise ConfigError(
                f"--set {shown(assignment)}: there is no =", hint="write --set section.key=value"
            )
        try:
            value = parse_yaml(text)
        except ValueError:
            value = text
        first = options.get(name, value)
        if first != value and str(first) != str(value):  # of "3" and 3, and of Path and str
            console.warn(
                f"{name} has two values, {first} and {value}: --set counts", "leave one out"
            )
        _assign(sections, name, value, recipe)
    return _validate(sections, source, recipe)


def _refuse_idle(config: PretrainConfig, written: set[str], chosen: set[str]) -> None:
    """Raise ConfigError for an option that was set and has nothing to act on.

    `chosen` are those of the command line. Of those `written` in a preset only a preset that
    chooses the objective itself is asked: others can be used with any. A resolved config.yaml
    writes all of them.
    """
    idle = idle_options(config)
    if "objective.name" in written and not idle.keys() <= written:
        chosen = chosen | written
    known = dict(iter_options())
    for name, reason in idle.items():
        section, _, key = name.partition(".")
        value = getattr(getattr(config, section), key)
        if name in chosen and value != known[name].default:
            raise ConfigError(
                f"{name} = {shown(value)} does nothing: {reason}", hint=f"leave {name} out"
            )


def load_tune_section(preset: str, also_known: Sequence[str]) -> Mapping[str, Any] | None:
    """A preset's search space as it is written; None if it has none.

    Raises ConfigError for a name that is neither an option nor one of `also_known`.
    """
    section: dict[str, Any] | None = read_sections(preset_path(preset)).get(TUNE_SECTION)
    known = {**dict(iter_options()), **dict.fromkeys(also_known)}
    for name in map(str, section or ()):
        if name not in known:
            raise ConfigError(
                f"{preset}: {TUNE_SECTION}: unknown option {name!r}",
                hint=nearest_or_all(name, known, "options"),
            )
    return section


def with_options(config: PretrainConfig, options: Mapping[str, Any], source: str) -> PretrainConfig:
    """The config with some options changed; `source` begins the line of a ConfigError."""
    sections = config.model_dump()
    for name, value in options.items():
        _assign(sections, name, value, PretrainConfig)
    return _validate(sections, source, PretrainConfig)


def load_config(path: Path) -> PretrainConfig:
    """The resolved config.yaml of a run. Raises ConfigError if it is missing or does not fit."""
    return _validate(read_sections(path), str(path), PretrainConfig)


def load_options(path: Path) -> dict[str, Any]:
    """What a config.yaml says, by section.key, not validated: older versions had other options.

    Raises ConfigError if it is missing or no YAML with sections.
    """
    sections = read_sections(path)
    return {
        f"{name}.{key}": value for name, keys in sections.items() for key, value in keys.items()
    }


def save_config(config: Section, path: Path) -> None:
    """Every option, resolved; atomic."""
    content = write_yaml(config.model_dump(mode="json")).encode()
    write_bytes_atomically(path, content)


def save_preset(config: PretrainConfig, path: Path, comment: str) -> None:
    """Only what differs from the defaults, under a comment; whole or not at all."""
    defaults = PretrainConfig().model_dump(mode="json")
    # Some defaults follow from the objective, and loading applies those.
    objective = {"objective": {"name": config.objective.name}}
    following = PretrainConfig.model_validate(objective).model_dump(mode="json")
    sections: dict[str, dict[str, Any]] = {}
    for section, options in config.model_dump(mode="json").items():
        usual = [defaults[section], following[section]]
        changed = {k: v for k, v in options.items() if any(v != known[k] for known in usual)}
        if changed:
            sections[section] = changed
    lines = "".join(f"# {line}\n" for line in comment.splitlines())
    text = lines + write_yaml(sections)
    write_bytes_atomically(path, text.encode())


def _assign(sections: dict[str, Any], name: str, value: Any, recipe: type[Section]) -> None:
    section, _, key = name.partition(".")
    known = dict(iter_options(recipe))
    if name not in known:
        raise ConfigError(
            f"unknown option {shown(name)}", hint=nearest_or_all(name, known, "options")
        )
    sections.setdefault(section, {})[key] = value


def _validate(sections: Mapping[str, Any], source: str, recipe: type[Recipe]) -> Recipe:
    try:
        return recipe.model_validate(sections)
    except ValidationError as error:
        first = error.errors()[0]
        raise _explain(first, source, recipe) from None


def _explain(error: ErrorDetails, source: str, recipe: type[Section]) -> ConfigError:
    """One line of problem and one of hint, for the first error."""
    name = ".".join(str(part) for part in error["loc"][:2])
    known = dict(iter_options(recipe))
    if error["type"] == "extra_forbidden":
        if "." in name:
            return ConfigError(
                f"{source}: unknown option {shown(name)}",
                hint=nearest_or_all(name, known, "options"),
            )
        sections = recipe.model_fields
        return ConfigError(
            f"{source}: unknown section {shown(name)}",
            hint=nearest_or_all(name, sections, "sections"),
        )
    reason = error["msg"].removeprefix("Value error, ")
    if name not in known:  # a check between options, which names them itself
        return ConfigError(
            f"{source}: {reason}",
            hint="change one of them (--set section.key=value, or in the preset)",
        )
    return ConfigError(
        f"{source}: {name} = {shown(error['input'])}: {reason}",
        hint=f"{name}: {known[name].description}",
    )
