"""A small corpus, prepared once by the real command, and a run trained on it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from command_line import TINY, run_electra, write_corpus


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    corpus = write_corpus(folder / "corpus.txt", 300)
    options = ["--out", "words", "--vocab-size", 150, "--validation-fraction", 0.1]
    done = run_electra(folder, "prepare", corpus, *options)
    assert done.returncode == 0, done.stderr
    return folder / "words"


@dataclass(frozen=True)
class FinishedRun:
    root: Path
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def finished(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """An uninterrupted run of 12 steps."""
    folder = tmp_path_factory.mktemp("finished")
    done = run_electra(folder, "train", "--data", prepared, "--run-name", "whole", *TINY)
    assert done.returncode == 0, done.stderr
    return FinishedRun(folder / "runs" / "whole", done.stdout, done.stderr)


@pytest.fixture
def run_copy(tmp_path: Path, finished: FinishedRun) -> Path:
    """A copy of the uninterrupted run, to resume and to damage."""
    copy = tmp_path / "runs" / "whole"
    shutil.copytree(finished.root, copy)
    return copy
