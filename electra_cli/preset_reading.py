"""The files of presets, and of a run's config.yaml -> sections of options, not validated."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from electra_cli.config import PretrainConfig, iter_options
from electra_cli.errors import ConfigError
from electra_cli.suggestions import nearest, nearest_option
from electra_cli.yaml_text import parse_yaml, shown

MAX_FILE_BYTES = 1 << 20  # a preset has about a kilobyte; a huge file would take long to parse

_PACKAGE = Path(__file__).parent


def preset_folder() -> Path:
    """Where the presets are: inside an installed wheel, or at the top of the repository."""
    shipped = _PACKAGE / "preset_files"
    return shipped if shipped.is_dir() else _PACKAGE.parent / "presets"


def preset_names() -> list[str]:
    """The presets that --preset takes by name."""
    return sorted(path.stem for path in preset_folder().glob("*.yaml"))


def preset_path(preset: str) -> Path:
    """The file of a preset's name, or the file that was named. Raises ConfigError for no preset."""
    path = Path(preset)
    if path.suffix.lower() in (".yaml", ".yml"):
        return path
    if preset not in preset_names():
        raise ConfigError(
            f"there is no preset {shown(preset)}",
            hint=nearest_or_all(preset, preset_names(), "presets") + ", or name a .yaml file",
        )
    return preset_folder() / f"{preset}.yaml"


def read_sections(path: Path) -> dict[str, Any]:
    """The options of each section of a file; a section without any is empty.

    Raises ConfigError for a file that cannot be read or holds something else.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: no path has a NUL
        raise ConfigError(
            f"{path} cannot be read: {getattr(error, 'strerror', error)}",
            hint=f"presets: {_listed(preset_names())}",
        ) from None
    if len(text) > MAX_FILE_BYTES:
        raise ConfigError(
            f"{path} is larger than {MAX_FILE_BYTES >> 20} MB: it is not a preset",
            hint=f"presets: {_listed(preset_names())}",
        )
    try:
        content = parse_yaml(text.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not in UTF-8", hint="save it as UTF-8") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}", hint="correct that line") from None
    if content is None:
        return {}
    if isinstance(content, dict):  # a section whose lines are all comments is null
        content = {key: {} if value is None else value for key, value in content.items()}
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise _no_sections(path, content)
    for key in (*content, *(key for section in content.values() for key in section)):
        if not isinstance(key, str):
            raise ConfigError(
                f"{path}: {shown(key)} is not the name of a section or an option",
                hint=f"sections: {_listed(PretrainConfig.model_fields)}",
            )
    return content


def _no_sections(path: Path, content: object) -> ConfigError:
    known = dict(iter_options())
    entries = content.items() if isinstance(content, dict) else ()
    outside = next((str(key) for key, value in entries if not isinstance(value, dict)), "")
    close = None if outside in PretrainConfig.model_fields else nearest_option(outside, known)
    if close:
        return ConfigError(
            f"{path}: {shown(outside)} stands in no section", hint=f"did you mean {close}?"
        )
    return ConfigError(
        f"{path} does not hold sections with options",
        hint=f"sections: {_listed(PretrainConfig.model_fields)}, each with `key: value` lines",
    )


def nearest_or_all(name: str, known: Mapping[str, Any] | Sequence[str], kind: str) -> str:
    """A hint: the known name that is meant, or all of them."""
    close = nearest_option(name, known) if kind == "options" else nearest(name, known)
    return f"did you mean {close}?" if close else f"{kind}: {_listed(known)}"


def _listed(names: Mapping[str, Any] | Sequence[str]) -> str:
    return ", ".join(names)
