"""Mistakes that no other test makes, in this process: names no disk can hold, logs without rows."""

import shutil
from pathlib import Path

import pytest
from command_line import TINY

from electra_cli.cli import main

LONG = "x" * 5_000


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[str, str]:
    """(problem, hint), the last two lines of a command that must fail."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert ended.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    problem, hint = err.splitlines()[-2:]
    assert problem.startswith("error: ")
    assert hint.startswith("  hint: ")
    assert len(problem) + len(hint) < 2_500
    return problem, hint


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--preset", LONG),
        ("train", "--preset", f"{LONG}.yaml"),
        ("train", "--data", LONG, *TINY),
        ("train", "--set", f"data.directory={LONG}", *TINY),
        ("resume", LONG),
        ("plot", LONG),
        ("prepare", LONG),
        ("prepare", "a.txt", "--out", LONG),
        ("prepare", "a.txt", "--tokenizer", LONG),
    ],
    ids=lambda arguments: " ".join(arguments)[:24],
)
def test_a_name_that_no_disk_can_hold_is_two_lines(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("Some words.")
    refusal(capsys, *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_the_name_of_a_run_that_no_disk_can_hold_is_two_lines(
    tmp_path, monkeypatch, capsys, prepared
):
    monkeypatch.chdir(tmp_path)
    refusal(capsys, "train", "--data", prepared, "--run-name", LONG, *TINY)


def test_a_run_that_has_logged_nothing_yet_is_no_plot(tmp_path, capsys):
    (tmp_path / "training_log.csv").write_text("step,mlm_loss\n")
    problem, hint = refusal(capsys, "plot", tmp_path)
    assert "has no rows yet" in problem
    assert "run.log_every" in hint


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format_version": 99}', "\0"])
def test_a_damaged_or_newer_data_folder_is_named(tmp_path, capsys, prepared, content):
    copy = tmp_path / "data"
    shutil.copytree(prepared, copy)
    (copy / "manifest.json").write_text(content)
    problem, _ = refusal(capsys, "train", "--data", copy, *TINY)
    assert str(copy) in problem


def test_a_corpus_of_one_short_document_is_too_small_to_train_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("a b")
    problem, hint = refusal(capsys, "prepare", "a.txt", "--vocab-size", 99)
    assert (
        "no document of a is left to train on: of 1, 0 are duplicates, 1 too short and 0 held out"
        in problem
    )
    assert "name more text" in hint
