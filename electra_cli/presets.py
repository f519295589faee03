"""YAML presets and `--set section.key=value` -> PretrainConfig. The only importer of yaml."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from electra_cli.config import PretrainConfig, iter_options
from electra_cli.disk import replace_file
from electra_cli.errors import ConfigError

# Of a preset file alone: what `electra tune` varies (electra_cli/commands/search_space.py).
TUNE_SECTION = "tune"

_PACKAGE = Path(__file__).parent


def preset_folder() -> Path:
    """Where the presets are: inside an installed wheel, or at the top of the repository."""
    shipped = _PACKAGE / "preset_files"
    return shipped if shipped.is_dir() else _PACKAGE.parent / "presets"


def preset_names() -> list[str]:
    """The presets that --preset takes by name."""
    return sorted(path.stem for path in preset_folder().glob("*.yaml"))


def load_preset(
    preset: str, options: Mapping[str, Any] | None = None, assignments: Sequence[str] = ()
) -> PretrainConfig:
    """A preset's name or file, then options by `section.key`, then `section.key=value` texts.

    What comes later wins. Raises ConfigError, with the nearest name for an unknown one.
    """
    sections = _read_sections(_preset_path(preset))
    sections.pop(TUNE_SECTION, None)
    for name, value in (options or {}).items():
        _assign(sections, name, value)
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator:
            raise ConfigError(
                f"--set {assignment}: there is no =", hint="write --set section.key=value"
            )
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        _assign(sections, name.strip(), value)
    return _validate(sections, preset)


def load_tune_section(preset: str, also_known: Sequence[str]) -> Mapping[str, Any] | None:
    """A preset's search space as it is written; None if it has none.

    Raises ConfigError for a name that is neither an option nor one of `also_known`.
    """
    section: dict[str, Any] | None = _read_sections(_preset_path(preset)).get(TUNE_SECTION)
    known = {**dict(iter_options()), **dict.fromkeys(also_known)}
    for name in map(str, section or ()):
        if name not in known:
            raise ConfigError(
                f"{preset}: {TUNE_SECTION}: unknown option {name!r}",
                hint=_nearest(name, known, "options"),
            )
    return section


def with_options(config: PretrainConfig, options: Mapping[str, Any], source: str) -> PretrainConfig:
    """The config with other values by `section.key`; `source` begins the line of a ConfigError."""
    sections = config.model_dump()
    for name, value in options.items():
        _assign(sections, name, value)
    return _validate(sections, source)


def load_config(path: Path) -> PretrainConfig:
    """The resolved config.yaml of a run. Raises ConfigError if it is missing or does not fit."""
    return _validate(_read_sections(path), str(path))


def save_config(config: PretrainConfig, path: Path) -> None:
    """Every option, resolved."""
    path.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))


def save_preset(config: PretrainConfig, path: Path, comment: str) -> None:
    """Only what differs from the defaults, under a comment; whole or not at all."""
    defaults = PretrainConfig().model_dump(mode="json")
    sections: dict[str, dict[str, Any]] = {}
    for section, options in config.model_dump(mode="json").items():
        changed = {k: v for k, v in options.items() if v != defaults[section][k]}
        if changed:
            sections[section] = changed
    lines = "".join(f"# {line}\n" for line in comment.splitlines())
    text = lines + yaml.safe_dump(sections, sort_keys=False)
    replace_file(path, lambda file: file.write(text.encode()))


def _preset_path(preset: str) -> Path:
    """The file of a preset's name, or the file that was named."""
    path = Path(preset)
    if path.suffix in (".yaml", ".yml"):
        return path
    path = preset_folder() / f"{preset}.yaml"
    if not path.is_file():
        raise ConfigError(
            f"there is no preset {preset!r}",
            hint=_nearest(preset, preset_names(), "presets") + ", or name a .yaml file",
        )
    return path


def _read_sections(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", hint=f"presets: {_listed(preset_names())}"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} is not valid YAML: {reason}", hint="mend that line") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise ConfigError(
            f"{path} does not hold sections with options",
            hint=f"sections: {_listed(PretrainConfig.model_fields)}, each with `key: value` lines",
        )
    return content


def _assign(sections: dict[str, Any], name: str, value: Any) -> None:
    section, _, key = name.partition(".")
    known = dict(iter_options())
    if name not in known:
        raise ConfigError(f"unknown option {name!r}", hint=_nearest(name, known, "options"))
    sections.setdefault(section, {})[key] = value


def _validate(sections: Mapping[str, Any], source: str) -> PretrainConfig:
    try:
        return PretrainConfig.model_validate(sections)
    except ValidationError as error:
        first = error.errors()[0]
        raise _explain(first, source) from None


def _explain(error: ErrorDetails, source: str) -> ConfigError:
    """One line of problem and one of hint for the first thing that does not fit."""
    name = ".".join(str(part) for part in error["loc"][:2])
    known = dict(iter_options())
    if error["type"] == "extra_forbidden":
        if "." in name:
            return ConfigError(
                f"{source}: unknown option {name!r}", hint=_nearest(name, known, "options")
            )
        sections = PretrainConfig.model_fields
        return ConfigError(
            f"{source}: unknown section {name!r}", hint=_nearest(name, sections, "sections")
        )
    reason = error["msg"].removeprefix("Value error, ")
    if name not in known:  # a check between options, which names them itself
        return ConfigError(f"{source}: {reason}", hint="change one of them with --set")
    return ConfigError(
        f"{source}: {name} = {error['input']!r}: {reason}",
        hint=f"{name}: {known[name].description}",
    )


def _nearest(name: str, known: Mapping[str, Any] | Sequence[str], kind: str) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    if not close:  # a key without its section, or with a wrong one
        key = name.rpartition(".")[2]
        by_key = {option.rpartition(".")[2]: option for option in known}
        close = [by_key[k] for k in difflib.get_close_matches(key, by_key, n=1)]
    return f"did you mean {close[0]}?" if close else f"{kind}: {_listed(known)}"


def _listed(names: Mapping[str, Any] | Sequence[str]) -> str:
    return ", ".join(names)
