"""The words of the command line, before any command reads them."""

import os
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from electra_cli.disk import check_utf8, expand_home
from electra_cli.errors import ConfigError


def checked(arguments: Sequence[str]) -> list[str]:
    """The same words, with the home folder for ~ after an equals sign, where shells leave it.

    Raises DataError for a path that is not UTF-8, ConfigError for an empty word, and for another
    dash than - before an option.
    """
    _check_path(".")
    words = []
    before = ""
    for word in arguments:
        name, sign, value = word.partition("=")
        if not value.strip() and (name[:2] == "--" if sign else not name.strip()):
            what = name if sign else before if before[:1] == "-" else "an argument"
            raise ConfigError(
                f"{what} is empty", hint="leave it out; was it a variable that is not set?"
            )
        if is_dash(word[0]) and word[0] != "-" and not Path(word).exists():
            plain = word.lstrip("".join(filter(is_dash, word)))
            raise ConfigError(
                f"{word} begins with {unicodedata.name(word[0])}, not with -",
                hint=f"did you mean --{plain}?",
            )
        head, sign, value = word.rpartition("=")
        is_home = sign and value.startswith("~/")
        words.append(f"{head}={expand_home(value)}" if is_home else word)
        _check_path(words[-1])
        before = word
    return words


def is_dash(character: str) -> bool:
    """Whether it looks like a hyphen; programs that mend typing put others in its place."""
    return unicodedata.category(character) == "Pd" or character == "\N{MINUS SIGN}"


def _check_path(word: str) -> None:
    """Raise DataError if a word, or what it leads to, is not UTF-8."""
    check_utf8(word)
    with suppress(OSError, ValueError):  # the command says what is wrong with such a name
        check_utf8(os.path.realpath(word.rpartition("=")[2]))
