"""What a user may get wrong with `electra prepare`: the real command, its two lines, no folder."""

import gzip
import json
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import (
    electra_command,
    electra_environment,
    run_electra,
    start_electra,
    write_corpus,
)
from run_checks import wait_until

LATIN_1 = "Ein Wort über Bäume.\n".encode("latin-1")


def refusal(folder: Path, *arguments: object) -> tuple[str, str]:
    """(problem, hint) of a command that must fail, say only this, and leave nothing behind."""
    before = sorted(folder.rglob("*"))
    done = run_electra(folder, *arguments)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 2, done.stderr
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("  hint: ")
    assert sorted(folder.rglob("*")) == before
    return lines[0].removeprefix("error: "), lines[1].removeprefix("  hint: ")


def write_parquet(path: Path) -> None:
    pq.write_table(pa.table({"title": ["a"], "body": ["b"]}), path)


def write_bytes(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "write", "problem", "hint"),
    [
        ("wrods.txt", None, "no such file: wrods.txt", "did you mean words.txt?"),
        ("a.txt", write_bytes(b""), "a.txt is empty", "name another file"),
        ("a.txt", write_bytes(b"\n \n"), "no document in a", "name files that hold some text"),
        ("a.txt", write_bytes(bytes(range(256)) * 9), "a.txt is a binary file", "leave it out"),
        ("a.txt", write_bytes("Hm.".encode("utf-16")), "a.txt is UTF-16", "iconv -f UTF-16"),
        (
            "a.txt",
            write_bytes(b"Fine.\n" + LATIN_1),
            "a.txt, line 2: broken UTF-8 (byte 0xfc)",
            "add --replace-broken",
        ),
        (
            "a.jsonl",
            write_bytes(b'{"text": "Fine."}\n{"text": "Cut\n'),
            "a.jsonl, line 2: no whole JSON value: it breaks off",
            "one object per line",
        ),
        ("a.jsonl", write_bytes(b'{"body": "x"}\n'), "a.jsonl: no column text", "one of: body"),
        ("a.csv", write_bytes(b"title,body\n1,2\n"), "no column text", "one of: title, body"),
        ("a.csv", write_bytes(b'text\n"open\n'), "a.csv, line 2: invalid CSV", "quotes"),
        ("a.parquet", write_parquet, "no column text", "one of: title, body"),
        ("a.parquet", write_bytes(b"PAR1 what?"), "a.parquet is damaged", "download it again"),
        ("a.arrow", write_bytes(b"ARROW1 what?"), "a.arrow is damaged", "download it again"),
        (
            "a.txt.gz",
            write_bytes(gzip.compress(b"words " * 9_000)[:-30]),
            "a.txt.gz is damaged",
            "download it again",
        ),
        ("a.pdf", write_bytes(b"%PDF"), "a.pdf has an unknown ending", "usable are .txt"),
        ("some/dataset", None, "the Hugging Face Hub cannot be reached", "with a network"),
        (
            "\x1b[31mred\n.txt",
            write_bytes(b""),
            "\\x1b[31mred\\n.txt is empty",
            "name another file",
        ),
        ("x" * 999, None, "cannot be read: File name too long", "check the name"),
    ],
)
def test_a_source_that_cannot_be_read_is_named_with_what_to_do(
    tmp_path, name, write, problem, hint
):
    (tmp_path / "words.txt").write_text("Words.")
    if write is not None:
        write(tmp_path / name)
    found = refusal(tmp_path, "prepare", name)
    assert problem in found[0]
    assert hint in found[1]
    assert "\x1b" not in "".join(found)


@pytest.mark.parametrize(
    ("options", "problem", "hint"),
    [
        pytest.param(
            ["--tokenizer", "nowhere"],
            "no folder nowhere, and no such",
            "tokenizer.json",
            marks=pytest.mark.slow,  # it loads transformers
        ),
        (["--tokenizer", "x", "--cased"], "--tokenizer brings its own", "leave out"),
        (["--out", "words.txt"], "words.txt is a file", "choose another --out"),
        (["--out", "mine"], "mine is not empty", "--out mine-2"),
        (["--out", "words.txt/out"], "cannot be used: Not a directory", "choose another --out"),
    ],
)
def test_an_option_of_prepare_that_cannot_be_is_explained(tmp_path, options, problem, hint):
    write_corpus(tmp_path / "words.txt", 20)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    found = refusal(tmp_path, "prepare", "words.txt", *options)
    assert problem in found[0]
    assert hint in found[1]


def test_broken_text_is_replaced_when_asked_and_counted(tmp_path):
    lines = b"".join(b"the %d house of trees\n\n" % number for number in range(99))
    (tmp_path / "a.txt").write_bytes(lines + LATIN_1)
    done = run_electra(tmp_path, "prepare", "a.txt", "--replace-broken", "--vocab-size", 99)
    assert done.returncode == 0, done.stderr
    assert "1 lines of broken text were read with replacement characters" in done.stderr
    report = json.loads((tmp_path / "data/a/manifest.json").read_text())["report"]
    assert report["broken_lines"] == 1
    assert report["replacement_bytes"] == 2 * (len("\ufffd".encode()) - 1)
    assert report["bytes_read"] == len(lines + LATIN_1)


@pytest.mark.slow
def test_a_second_prepare_of_a_folder_is_refused_until_the_first_has_ended(tmp_path):
    corpus = write_corpus(tmp_path / "c.txt", 30_000)
    command = ("prepare", corpus, "--out", "out", "--vocab-size", 4_000)
    first = start_electra(tmp_path, *command)
    try:
        lock = tmp_path / "out" / "prepare.lock"
        wait_until(lambda: lock.exists() and lock.read_text() != "", "the owner's name")
        first.send_signal(signal.SIGSTOP)  # so that it cannot be done before the second looks
        second = run_electra(tmp_path, *command)
        assert second.returncode == 1, second.stderr
        problem, hint = second.stderr.splitlines()[-2:]
        assert f"out is being prepared by process {first.pid} on " in problem
        assert "choose another --out" in hint
    finally:
        first.kill()
        first.communicate()
    third = run_electra(tmp_path, *command)  # the lock died with its owner
    assert third.returncode == 0, third.stderr
    assert not (tmp_path / "out" / "prepare.lock").exists()


def test_ctrl_c_while_word_pieces_are_learned_stops_at_once(tmp_path):
    corpus = write_corpus(tmp_path / "c.txt", 60_000)
    child = start_electra(tmp_path, "prepare", corpus, "--out", "out")
    assert child.stderr is not None
    for line in child.stderr:
        if line.startswith("learning"):
            break
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "the same command goes on" in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_a_limit_on_the_size_of_files_is_a_full_disk_and_the_same_command_goes_on(tmp_path):
    corpus = write_corpus(tmp_path / "c.txt", 2_000)
    command = ("prepare", corpus, "--out", "out", "--vocab-size", 150)

    def limit_files() -> None:
        """Enough for the tokenizer, not for the shard."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    done = run_electra(tmp_path, *command, limit=limit_files)
    assert done.returncode == 1, done.stderr
    problem, hint = done.stderr.splitlines()[-2:]
    assert "error: no space is left on the disk of out" in problem
    assert "run the same command again" in hint
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert run_electra(tmp_path, *command).returncode == 0


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
def test_a_full_disk_is_said_and_the_same_command_goes_on(tmp_path):
    """On a file system of 200 kB, in a mount namespace of its own."""
    write_corpus(tmp_path / "c.txt", 2_000)
    (tmp_path / "small").mkdir()
    electra = " ".join(electra_command("prepare", "c.txt", "--out", "small/out"))
    script = (
        "mount -t tmpfs -o size=200k tmpfs small || exit 77; "
        f"{electra} --vocab-size 150; code=$?; ls small/out; "
        f"mount -o remount,size=9m small; {electra} --vocab-size 150 || exit 78; exit $code"
    )
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script],
        cwd=tmp_path,
        env=electra_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode in (77, 1) and "error:" not in done.stderr:
        pytest.skip(f"no file system may be mounted here: {done.stderr.strip()}")
    assert done.returncode == 1, done.stderr
    assert "error: no space is left on the disk of small/out" in done.stderr
    assert "run the same command again" in done.stderr
    assert "manifest.json" not in done.stdout
    assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    write_corpus(tmp_path / "c.txt", 50)
    problem, hint = refusal(tmp_path, "prepare", "c.txt", "--out", "/proc/out")
    assert "/proc/out cannot be used" in problem
    assert "choose another --out" in hint
