"""The README is true: its table of options is the program's, and its commands run."""

import json
import random
import re
import shlex
from pathlib import Path

import pytest
from command_line import TINY, WORDS, run_electra, write_corpus

from electra_cli.config import option_table

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_table_of_options_is_the_programs():
    # Made by: python -m electra_cli.config
    start, end = "<!-- options: made by python -m electra_cli.config -->", "<!-- end of options -->"
    assert README.split(start)[1].split(end)[0].strip() == option_table()


def test_the_files_it_names_exist():
    names = re.findall(r"\]\(((?!http)[^)]+)\)|`((?:electra_cli|tests)/[\w/.]+)`", README)
    paths = [ROOT / (linked or quoted) for linked, quoted in names]
    assert len(paths) >= 5
    assert [path for path in paths if not path.exists()] == []


def commands() -> list[list[str]]:
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("electra ")]


@pytest.mark.slow
def test_its_commands_run_one_after_the_other(tmp_path):
    (tmp_path / "books").mkdir()
    import lzma

    for name in ("one", "two"):
        corpus = write_corpus(tmp_path / f"{name}.txt", 400, seed=len(name))
        (tmp_path / "books" / f"{name}.txt.xz").write_bytes(lzma.compress(corpus.read_bytes()))
    draw = random.Random(5)
    articles = [{"body": " ".join(draw.choices(WORDS, k=60))} for _ in range(300)]
    lines = [json.dumps(article) for article in articles]
    (tmp_path / "articles.jsonl").write_text("\n".join(lines) + "\n")

    found = commands()
    assert [c[1] for c in found].count("prepare") == 3
    assert {c[1] for c in found} == {"prepare", "train", "resume", "plot", "tune"}
    for command in found:
        arguments = command[1:]
        if arguments == ["prepare"]:
            arguments += ["--max-bytes", "300000"]  # the rest of the built-in corpus takes a minute
        if arguments[0] == "train":
            arguments += TINY  # the commands as they stand train for days
        if arguments[0] == "tune":
            arguments += ["--steps", "3", "--trials", "2"]
        expanded = []
        for argument in arguments:
            matches = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.glob(argument))
            expanded += matches if "*" in argument else [argument]
        done = run_electra(tmp_path, *expanded)
        assert done.returncode == 0, (command, done.stderr)
