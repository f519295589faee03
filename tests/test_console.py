"""What comes from files and names is text: it neither steers the terminal nor is markup."""

import shlex
import subprocess
import sys

import pytest
from command_line import electra_command, run_electra

from electra_cli import console

HOSTILE = "a\x1b[31m\x1b]0;title\x07\r\n\x9b2J\u202e\u2066\udcff[red]b[/red] :smile: [link=x]c"
SHOWN = (
    "a\\x1b[31m\\x1b]0;title\\x07\\r\\n\\x9b2J\\u202e\\u2066\\udcff[red]b[/red] :smile: [link=x]c"
)


def test_a_problem_and_its_hint_are_two_lines_whatever_they_quote(capsys):
    console.error(HOSTILE, HOSTILE)
    assert capsys.readouterr().err == f"error: {SHOWN}\n  hint: {SHOWN}\n"
    console.warn(HOSTILE, HOSTILE)
    assert capsys.readouterr().err == f"warning: {SHOWN}\n  hint: {SHOWN}\n"


def test_talk_hints_and_tables_show_control_characters(capsys):
    console.talk("one\ntwo \x1b[2J")
    console.hint(HOSTILE)
    assert capsys.readouterr().err == f"one\ntwo \\x1b[2J\n{SHOWN}\n"
    console.table(HOSTILE, (HOSTILE, "n"), [(HOSTILE, HOSTILE)])
    shown = capsys.readouterr().err
    assert "\x1b" not in shown
    assert "\\x1b[31m" in shown


def test_a_terminal_that_says_it_has_no_columns_still_gets_messages(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "0")
    assert run_electra(tmp_path, "plot", "x").stderr.startswith("error: ")


def test_a_closed_stdout_stops_nothing(tmp_path):
    (tmp_path / "a.txt").write_text("a tree by the river\n")
    command = shlex.join(electra_command("prepare", "a.txt", "--out", "out", "--vocab-size", 64))
    done = subprocess.run(
        ["bash", "-c", f"{command} <&- >&-"], cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "next: electra train" in done.stderr


def test_letters_of_every_script_and_emoji_stay_as_they_are(capsys):
    text = "é 水 אבג नमस्ते 👩\u200d💻 \u00a0"
    console.talk(text)
    assert capsys.readouterr().err == f"{text}\n"


@pytest.mark.parametrize("name", [b"plain", b"\xff\xfe", "水".encode()])
def test_a_path_on_stdout_is_the_one_on_disk_byte_for_byte(name):
    code = "import sys; from electra_cli import console; console.result(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, name], capture_output=True, check=True)
    assert done.stdout == name + b"\n"


@pytest.mark.parametrize("how", ["2>&-", "2>/dev/full", "2>&1 >/dev/null | true"])
def test_a_stderr_that_takes_nothing_stops_nothing(tmp_path, how):
    code = (
        "import time; from pathlib import Path; from electra_cli import console; time.sleep(0.2)\n"
        "for _ in range(3): console.warn('a', 'b')\n"
        "Path('done').touch()"
    )
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} {how}"
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=False, timeout=60)
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0.4, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7_199, "120 min"),
        (27_000, "7.5 h"),
        (2 * 86_400, "2.0 days"),
        (86_400 * 365 * 4_000, "4,000.0 years"),
    ],
)
def test_a_duration_has_the_unit_that_reads_best(seconds, text):
    assert console.format_duration(seconds) == text


@pytest.mark.parametrize(
    "value, text",
    [
        (None, "null"),
        (True, "true"),
        (8192, "8192"),
        (1e-4, "0.0001"),
        (0.000123456, "0.0001235"),
        (float("inf"), "inf"),
        ("gelu", "gelu"),
    ],
)
def test_a_value_is_written_as_in_a_preset_with_few_digits(value, text):
    assert console.format_value(value) == text


def test_a_value_has_more_digits_where_asked():
    assert console.format_value(0.000123456, digits=6) == "0.000123456"


def test_a_long_problem_is_shortened_in_its_middle(capsys):
    console.error(f"there is no {'x' * 5_000} here", "y" * 5_000)
    problem, hint = capsys.readouterr().err.splitlines()
    assert problem.startswith("error: there is no xxx")
    assert problem.endswith("xxx here")
    assert len(problem) < 1_020
    assert len(hint) < 1_020
