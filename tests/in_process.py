"""The commands in this process: to import torch takes longer than most cases."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from electra_cli.cli import main


@dataclass(frozen=True)
class Done:
    returncode: object
    stdout: str
    stderr: str


@pytest.fixture
def electra(tmp_path, monkeypatch, capfd) -> Callable[..., Done]:
    """Run a command from its entry point, as the console script does, in `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def run(*arguments: object) -> Done:
        code: object = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as error:
            code = error.code
        return Done(code or 0, *capfd.readouterr())

    return run
