"""Read the texts of a .jsonl file: one object per line."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from electra_cli.errors import DataError
from electra_cli.preparing.columns import BOM, ambiguous, no_column, not_text
from electra_cli.preparing.raw_text import InputChecker, read_lines

HINT = (
    "a .jsonl file has one object per line; jq -c '.[]' FILE makes them from a list, "
    "jq -c . FILE from objects of several lines"
)
_RETURN_HINT = "its lines end in carriage returns alone: tr '\\r' '\\n' < FILE > NEW.jsonl"
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')


# An object is a tuple of its (key, value) pairs: a dict would forget a key's first value.
_Object = tuple[tuple[str, Any], ...]
_KINDS = {
    tuple: "an object",
    list: "a list",
    bool: "true or false",
    int: "a number",
    float: "a number",
}

# Numbers count by their length alone: those of thousands of digits are valid too.
_DECODER = json.JSONDecoder(
    object_pairs_hook=tuple, parse_int=len, parse_float=len, parse_constant=len
)


def read_json_texts(
    stream: io.BufferedReader, path: Path, column: str, checker: InputChecker, max_line_bytes: int
) -> Iterator[tuple[str, int]]:
    """(text, bytes of the object's other values) of each line; null or no such key is empty.

    Raises DataError if no line has the key.
    """
    missing: DataError | None = None
    was_found = False
    for number, line in read_lines(stream, path, max_line_bytes):
        where = f"{path}, line {number}"
        source = checker.check(line, number).decode().removeprefix(BOM).strip()
        if not source:
            continue
        pairs = _parse(source, where)
        row = dict(pairs)
        if len(row) < len(pairs) and [key for key, _ in pairs].count(column) > 1:
            raise ambiguous(where, column, [key for key, _ in pairs if key == column], "keys")
        if column in row:
            was_found = True
        elif not was_found:
            missing = missing or no_column(str(path), column, row)
        text = row.pop(column, None)
        if text is None:
            text = ""
        elif not isinstance(text, str):
            raise not_text(where, column, _KINDS[type(text)])
        yield checker.repair(text, number), _size_of(list(row.values())) if row else 0
    if missing is not None and not was_found:
        raise missing


def invalid_json(where: str, error: ValueError, source: str, hint: str = HINT) -> DataError:
    """The DataError for a text that spells no value."""
    reason = f"invalid JSON ({error})"
    if isinstance(error, json.JSONDecodeError):
        if error.pos >= len(source) or error.msg.startswith("Unterminated"):
            reason = f"no whole JSON value: it breaks off ({error})"
        elif error.msg == "Extra data":
            reason = "more than one JSON value"
            hint = _RETURN_HINT if source[error.pos - 1] == "\r" else hint
    return DataError(f"{where}: {reason}", hint=hint)


def not_an_object(where: str, value: Any) -> DataError:
    """The DataError for another value than an object."""
    kind = "null" if value is None else _KINDS.get(type(value), "a text")
    return DataError(f"{where}: valid JSON, but not an object: {kind}", hint=HINT)


def _parse(source: str, where: str) -> _Object:
    try:
        try:
            value = _DECODER.decode(source)
        except RecursionError:
            value = _DECODER.decode(_without_nested(source))
    except ValueError as error:
        raise invalid_json(where, error, source) from None
    if not isinstance(value, tuple):
        raise not_an_object(where, value)
    return value


def _without_nested(source: str) -> str:
    """An object with [] for each list in it and {} for each object, at whatever depth.

    json's decoder calls itself for each level. Raises ValueError where brackets do not match.
    """
    kept, start = [], 0
    open_brackets = []
    for found in _STRING_OR_BRACKET.finditer(source):
        mark = found[0]
        if mark in "[{":
            open_brackets.append(mark)
            if len(open_brackets) == 2:
                kept.append(source[start : found.end()])
        elif mark in "]}":
            if not open_brackets or (open_brackets.pop() + mark) not in ("[]", "{}"):
                raise ValueError(f"{mark} closes nothing: column {found.start() + 1}")
            if len(open_brackets) == 1:
                start = found.start()
    if open_brackets:
        raise ValueError(f"{open_brackets[-1]} is never closed")
    return "".join(kept) + source[start:]


def _size_of(values: list[Any]) -> int:
    """Bytes of values as text; what holds them together does not count."""
    size = 0
    for value in values:  # which grows
        kind = type(value)
        if kind is str:
            size += len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
        elif kind is int:
            size += value  # a number's length
        elif kind is list:
            values += value
        elif kind is tuple:
            values += [inner for _, inner in value]
    return size
