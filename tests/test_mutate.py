"""The changes that tests/mutate.py makes: one at a time, and never in texts or annotations."""

import ast

from mutate import Collector, is_chosen, stages_of

SOURCE = '''"""A docstring with 1 + 1."""

LIMIT: int = 0


def first(words: list[str], most: int = 2) -> str | None:
    """Return a word < another."""
    if not words and most <= LIMIT:
        raise ValueError(f"{most + 1} of {len(words)}")
    words.sort()
    return words[0]


if __name__ == "__main__":
    first([], 3)
'''
EXPECTED = {
    ("0", "1"),
    ("2", "3"),
    ("not words and most <= LIMIT", "(not words or most <= LIMIT)"),
    ("not words", "(words)"),
    ("most <= LIMIT", "(most < LIMIT)"),
    ('raise ValueError(f"{most + 1} of {len(words)}")', "pass"),
    ("words.sort()", "pass"),
    ("return words[0]", "return None"),
}


def found_in(source: str) -> Collector:
    collector = Collector("electra_cli/first.py", source.encode())
    collector.visit(ast.parse(source))
    return collector


def test_all_changes_of_a_function_are_found():
    changes = found_in(SOURCE).changes
    shown = {(change.old, change.new) for change in changes}
    more_or_less = {(old, new) for old, new in shown if old == "2"}
    assert more_or_less <= {("2", "1"), ("2", "3")}
    assert {pair for pair in shown if pair[0] != "2"} == EXPECTED - {("2", "3")}
    assert len(changes) == len(EXPECTED) + 1  # 0 is there twice


def test_each_change_is_one_place_of_the_file():
    for change in found_in(SOURCE).changes:
        assert SOURCE[change.start : change.end] == change.old
        assert SOURCE.splitlines()[change.line - 1].count(change.old.splitlines()[0]) == 1
        ast.parse(SOURCE[: change.start] + change.new + SOURCE[change.end :])


def test_a_change_keeps_its_key_when_lines_are_added_above():
    keys = [change.key for change in found_in(SOURCE).changes]
    assert len(set(keys)) == len(keys)
    moved = found_in(SOURCE.replace("LIMIT: int", "import os\n\nLIMIT: int"))
    assert [change.key for change in moved.changes] == keys
    assert moved.digest != found_in(SOURCE).digest


def test_a_share_of_the_changes_is_part_of_a_larger_one():
    changes = found_in(SOURCE).changes
    few, more, whole = ([is_chosen(c, share) for c in changes] for share in (0.2, 0.6, 1.0))
    assert all(whole)
    assert all(second for first, second in zip(few, more, strict=True) if first)


def test_the_test_of_the_same_name_comes_first_then_its_folders():
    stages = stages_of("electra_cli/model/objectives/electra.py", ("tests/test_recipes.py",))
    assert [stage.paths for stage in stages] == [
        ("tests/model/objectives/test_electra.py",),
        ("tests/model/objectives",),
        ("tests/model",),
        ("tests/test_recipes.py",),
    ]
    assert stages[2].without == ("tests/model/objectives/test_electra.py", "tests/model/objectives")
