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
    path = Path(preset)
    if path.suffix not in (".yaml", ".yml"):
        path = preset_folder() / f"{preset}.yaml"
        if not path.is_file():
            raise ConfigError(
                f"there is no preset {preset!r}",
                hint=_nearest(preset, preset_names(), "presets") + ", or name a .yaml file",
            )
    sections = _read_sections(path)
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


def load_config(path: Path) -> PretrainConfig:
    """The resolved config.yaml of a run. Raises ConfigError if it is missing or does not fit."""
    return _validate(_read_sections(path), str(path))


def save_config(config: PretrainConfig, path: Path) -> None:
    """Every option, resolved; atomic."""
    content = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False).encode()
    replace_file(path, lambda file: file.write(content))


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
