"""The README and docs/ are true: options, links and names of files are right, and commands run."""

import json
import lzma
import random
import re
import shlex
from pathlib import Path

import pytest
from command_line import TINY, WORDS, run_electra, write_corpus
from tiny_tasks import write_classes

from electra_cli.config import PretrainConfig, option_table
from electra_cli.finetuning.settings import FinetuneRecipe

ROOT = Path(__file__).parents[1]
README, USING = ROOT / "README.md", ROOT / "docs" / "using.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks" / "README.md"]
SOURCE_FOLDERS = "electra_cli|tests|benchmarks|examples|presets|docs"


@pytest.mark.parametrize(
    ("module", "recipe"),
    [
        ("electra_cli.config", PretrainConfig),
        ("electra_cli.finetuning.settings", FinetuneRecipe),
    ],
)
def test_the_tables_of_options_are_the_programs(module, recipe):
    start, end = f"<!-- options: made by python -m {module} -->", "<!-- end of options -->"
    page = (ROOT / "docs" / "options.md").read_text()
    assert page.split(start)[1].split(end)[0].strip() == option_table(recipe)


def anchors(page: Path) -> set[str]:
    """Those that GitHub gives to the headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if not link.startswith("https://"):
            path, _, anchor = link.partition("#")
            target = (page.parent / path) if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page):
    names = re.findall(rf"`((?:{SOURCE_FOLDERS})/[\w/.+-]+)`", page.read_text())
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_every_page_can_be_reached_from_the_readme():
    linked = {(ROOT / link).resolve() for link in re.findall(r"\]\(([^)#]+)", README.read_text())}
    assert {page for page in PAGES if page != README} <= linked


TUNED = ["finetune", "predict"]


def commands(page: Path) -> list[list[str]]:
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("electra ")]


@pytest.mark.slow(seconds=40)
@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (README, ["prepare", "train", "resume", "plot", *TUNED]),
        (USING, [*["prepare"] * 3, *["train"] * 3, *["resume"] * 2, "plot", "tune", *TUNED]),
    ],
    ids=["README.md", "using.md"],
)
def test_commands_run_one_after_the_other(tmp_path, page, expected):
    (tmp_path / "books").mkdir()
    for name in ("one", "two"):
        corpus = write_corpus(tmp_path / "books" / f"{name}.txt", 400, seed=len(name))
        (tmp_path / "books" / f"{name}.txt.xz").write_bytes(lzma.compress(corpus.read_bytes()))
    draw = random.Random(5)
    articles = [{"body": " ".join(draw.choices(WORDS, k=60))} for _ in range(300)]
    lines = [json.dumps(article) for article in articles]
    (tmp_path / "articles.jsonl").write_text("\n".join(lines) + "\n")

    for name in ("reviews", "questions"):
        write_classes(tmp_path / f"{name}.csv")

    found = commands(page)
    assert [command[1] for command in found] == expected
    for command in found:
        arguments = command[1:]
        if arguments == ["prepare"]:
            arguments += ["--max-bytes", "300000"]  # the rest of the built-in corpus takes a minute
        if arguments[0] == "train":
            arguments += TINY  # the commands as they stand train for days
        if arguments[0] == "finetune":
            arguments += ["--max-seq-length", "32", "--epochs", "1"]
        if arguments[0] == "tune":
            arguments += ["--steps", "3", "--trials", "2"]
        expanded = []
        for argument in arguments:
            matches = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.glob(argument))
            expanded += matches if "*" in argument else [argument]
        done = run_electra(tmp_path, *expanded)
        assert done.returncode == 0, (command, done.stderr)
