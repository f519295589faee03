"""Examples of .json and .jsonl files: objects, and the forms of SQuAD and MRQA."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from electra_cli.errors import DataError
from electra_cli.preparing.columns import refuse_repeated
from electra_cli.preparing.json_rows import HINT, invalid_json, not_an_object
from electra_cli.preparing.raw_text import InputChecker

Lines = Iterable[tuple[int, str]]  # number and text
Example = tuple[dict[str, Any], str]  # values by key, and where they stand


def read_json_lines(path: Path, lines: Lines, checker: InputChecker) -> Iterator[Example]:
    """One object per line; MRQA's first line is a header, and its others hold several questions."""
    for at, line in lines:
        where = f"{path}, line {at}"
        if not line.strip():
            continue
        values = _as_object(_parse(line, where, HINT, checker, at), where)
        if at == 1 and "header" in values:
            continue
        if "qas" in values:
            yield from _read_mrqa(values, where)
        else:
            yield values, where


def _read_mrqa(article: dict[str, Any], where: str) -> Iterator[Example]:
    try:
        for question in article["qas"]:
            found = [
                (answer["text"], span[0])
                for answer in question["detected_answers"]
                for span in answer["char_spans"]
            ]
            values = {
                "id": question["qid"],
                "question": question["question"],
                "context": article["context"],
                "answers": {
                    "text": [text for text, _ in found],
                    "answer_start": [start for _, start in found],
                },
            }
            yield values, f"{where}, question {question['qid']}"
    except (KeyError, TypeError, IndexError) as error:
        raise DataError(
            f"{where}: not in MRQA's form: {type(error).__name__} {error}",
            hint="context, qas / qid, question, detected_answers / text, char_spans",
        ) from None


def read_json(path: Path, lines: Lines, checker: InputChecker) -> Iterator[Example]:
    """SQuAD's {"data": articles} -> a row per question, or a list of objects."""
    text = "".join(line for _, line in lines)
    content = _parse(text, str(path), "correct the file", checker, 1)
    if isinstance(content, dict) and isinstance(content.get("data"), list):
        yield from _read_squad(path, content["data"])
        return
    if not isinstance(content, list):
        raise DataError(
            f"{path} holds neither a list of objects nor SQuAD's data",
            hint='a list is written [{"text": ..., "label": ...}, ...]; SQuAD has a key "data"',
        )
    for at, value in enumerate(content, start=1):
        where = f"{path}, object {at}"
        yield _as_object(value, where), where


def _read_squad(path: Path, articles: list[Any]) -> Iterator[Example]:
    for at, article in enumerate(articles, start=1):
        where = f"{path}, article {at}"
        try:
            if "paragraphs" not in article:  # datasets' flat rows under "data"
                yield _as_object(article, where), where
                continue
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    values = {**question, "context": paragraph["context"]}
                    yield values, f"{path}, question {question['id']}"
        except (KeyError, TypeError) as error:
            raise DataError(
                f"{where}: not in SQuAD's form: {type(error).__name__} {error}",
                hint="data / paragraphs / context and qas / id, question, answers",
            ) from None


def _parse(text: str, where: str, hint: str, checker: InputChecker, line: int) -> Any:
    """The value that a text spells. Raises DataError, also for a key that stands there twice."""

    def repaired(value: Any) -> Any:
        """A text, or those of a list, checked: half a character can be spelled as an escape."""
        if isinstance(value, list):
            return [repaired(each) for each in value]
        return checker.repair(value, line) if isinstance(value, str) else value

    def as_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        refuse_repeated(where, [name for name, _ in pairs], "keys")
        return {name: repaired(value) for name, value in pairs}

    try:
        return json.loads(text, object_pairs_hook=as_dict)
    except RecursionError:
        raise DataError(f"{where}: lists in too many other lists", hint=hint) from None
    except ValueError as error:
        raise invalid_json(where, error, text, hint) from None


def _as_object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise not_an_object(where, value)
    return value
