"""Which column holds the text, and the errors about columns."""

import codecs
from collections.abc import Iterable, Sequence

from electra_cli.errors import DataError

BOM = codecs.BOM_UTF8.decode()


def find_column(where: str, column: str, names: Sequence[str]) -> int:
    """The place of a column, whose name may have blanks around it.

    Raises DataError if there is none, or several that only blanks tell apart.
    """
    places = [place for place, name in enumerate(names) if _bare(name) == _bare(column)]
    if not places:
        raise no_column(where, column, names)
    if len(places) > 1:
        raise ambiguous(where, column, [names[place] for place in places])
    return places[0]


def no_column(where: str, column: str, columns: Iterable[str]) -> DataError:
    """The DataError for a missing column; its hint lists those there are."""
    names = ", ".join(columns) or "none at all"
    return DataError(f"{where}: no column {column}", hint=f"--column takes one of: {names}")


def ambiguous(where: str, column: str, found: Sequence[str], kind: str = "columns") -> DataError:
    """The DataError for a name that stands for several columns or keys."""
    blanks = "" if len(set(found)) == 1 else ", apart from blanks"
    return DataError(
        f"{where}: {len(found)} {kind} are called {column}{blanks}",
        hint="give each a name of its own: which of them is meant is in doubt",
    )


def refuse_repeated(where: str, names: Sequence[str], kind: str = "columns") -> None:
    """Raise DataError where two columns or keys have one name."""
    for name in names:
        if names.count(name) > 1:
            raise ambiguous(where, name, [name] * names.count(name), kind)


def not_text(where: str, column: str, kind: str) -> DataError:
    """The DataError for a column of another type."""
    return DataError(
        f"{where}: column {column} holds {kind}, not text",
        hint="choose a column of text with --column",
    )


def _bare(name: str) -> str:
    return name.strip().removeprefix(BOM).strip()
