import signal
import subprocess
import sys
import time
import webbrowser
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import run_electra, start_electra
from plot_runs import add_checkpoints, add_config, row_at, runs_of, write_log

from electra_cli.commands.plot import PlotOptions, plot
from electra_cli.errors import RunError
from electra_cli.plotting.reading import RunReader
from electra_cli.run_directory import NoRowsError, RunDirectory
from electra_cli.run_events import read_events


def draw(*runs: Path, out: Path | None = None, png: Path | None = None) -> None:
    """The command without the console script, for what has no message to look at."""
    plot(PlotOptions(runs, out=out, png=png, watch=False, open_browser=False))


def refused(folder: Path, *arguments: object) -> tuple[str, str]:
    """Run the real command, which must fail as users' mistakes do: its problem and its hint."""
    done = run_electra(folder, "plot", *arguments)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    problem, hint = done.stderr.splitlines()[-2:]
    assert problem.startswith("error: ")
    assert hint.startswith("  hint: ")
    return problem, hint


# What is written, and where


def test_the_page_of_one_run_lies_in_its_folder_and_its_path_is_printed(tmp_path, monkeypatch):
    # As in a notebook, whose package for that need not be installed beside electra.
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    write_log(tmp_path / "small")
    done = run_electra(tmp_path, "plot", "small", "--png", "new/curves.png")
    assert (done.returncode, done.stdout) == (0, "small/loss_curve.html\nnew/curves.png\n")
    assert done.stderr == ""
    assert len(runs_of((tmp_path / "small" / "loss_curve.html").read_text())) == 1
    assert (tmp_path / "new" / "curves.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_the_page_of_several_runs_lies_in_the_current_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw(write_log(tmp_path / "a"), write_log(tmp_path / "b"))
    assert capsys.readouterr().out == "loss_curve.html\n"
    assert len(runs_of(Path("loss_curve.html").read_text())) == 2


def test_runs_of_the_same_name_are_told_apart(tmp_path):
    first, second = write_log(tmp_path / "a/run"), write_log(tmp_path / "b/run")
    draw(first, second, first / "." / "", out=tmp_path / "page.html")
    runs = runs_of((tmp_path / "page.html").read_text())
    assert [run["name"] for run in runs] == ["a/run", "b/run"]


def test_the_legend_says_what_differs_between_the_runs(tmp_path):
    runs = [
        add_config(write_log(tmp_path / name), optim={"learning_rate": rate}, run={"seed": 0})
        for name, rate in (("a", 0.001), ("b", 0.0005))
    ]
    draw(*runs, out=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<b>a</b><span>learning_rate 0.001</span>" in page
    assert "<b>b</b><span>learning_rate 0.0005</span>" in page


@pytest.mark.slow
def test_a_real_run_has_its_checkpoints_events_and_settings_on_its_page(finished, tmp_path):
    draw(finished.root, out=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    (run,) = runs_of(page)
    found = [(mark["kind"], mark["step"]) for mark in run["marks"]]
    assert [step for kind, step in found if kind == "checkpoint"] == [5, 10, 12]
    events = read_events(RunDirectory(finished.root).events)
    assert {(event.kind, event.step) for event in events} == {
        mark for mark in found if mark[0] != "checkpoint"
    }
    assert "run.batch_size</th><td>8</td>" in page
    assert (finished.root / "loss_curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_browser_is_opened_only_when_asked(tmp_path, monkeypatch):
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or True)
    run = write_log(tmp_path / "run")
    draw(run)
    assert opened == []
    plot(PlotOptions([run], out=None, png=None, watch=False, open_browser=True))
    assert opened == [(run / "loss_curve.html").as_uri()]


def test_plotting_loads_neither_torch_nor_what_it_does_not_need(tmp_path):
    run = add_config(write_log(tmp_path / "run"), run={"seed": 0})
    script = (
        "import sys; from pathlib import Path;"
        "from electra_cli.commands.plot import PlotOptions, plot;"
        "plot(PlotOptions([Path(sys.argv[1])], None, None, False, False));"
        "heavy = {'torch', 'transformers', 'datasets', 'optuna', 'pandas', 'matplotlib'};"
        "print(heavy & set(sys.modules))"
    )
    command = [sys.executable, "-c", script, str(run)]
    assert subprocess.run(command, check=True, capture_output=True).stdout.endswith(b"set()\n")


@pytest.mark.slow
def test_a_page_and_a_picture_of_ours_are_written_anew(tmp_path):
    run, png = write_log(tmp_path / "run"), tmp_path / "curves.png"
    draw(run, png=png)
    before = RunDirectory(run).page.read_text()
    RunDirectory(run).append_row(row_at(21))
    draw(run, png=png)
    assert RunDirectory(run).page.read_text() != before
    assert list(tmp_path.rglob("*.partial")) == []


# A run that goes on


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
def test_a_watched_run_is_drawn_anew_until_ctrl_c(tmp_path):
    (tmp_path / "run").mkdir()
    run = add_config(tmp_path / "run", run={"seed": 0})
    directory = RunDirectory(run)
    watching = start_electra(tmp_path, "plot", "run", "--watch")

    def drawn() -> list[int]:
        if not directory.page.is_file():
            return []
        (data,) = runs_of(directory.page.read_text())
        return [*data["x"]["steps"], *(mark["step"] for mark in data["marks"])]

    assert watching.stderr is not None
    assert "waiting" in watching.stderr.readline()  # the run has not logged anything yet
    directory.append_row(row_at(1))
    wait_for(lambda: drawn() == [1])
    assert '"reloadSeconds":10' in directory.page.read_text()
    directory.append_row(row_at(2))
    wait_for(lambda: drawn() == [1, 2])
    add_checkpoints(run, 2)
    wait_for(lambda: drawn() == [1, 2, 2])
    watching.send_signal(signal.SIGINT)
    stdout, stderr = watching.communicate(timeout=60)
    assert (watching.returncode, stdout) == (0, "run/loss_curve.html\n")
    assert "Traceback" not in stderr
    assert '"reloadSeconds":null' in directory.page.read_text()  # a page that stays


def test_a_warning_is_given_once_however_often_the_runs_are_read(tmp_path, capsys):
    (tmp_path / "young").mkdir()
    young = add_config(tmp_path / "young", run={"seed": 0})
    reader = RunReader([write_log(tmp_path / "run"), young])
    assert [log.name for log in reader.read_all()] == ["run"]
    assert len(reader.read_all()) == 1
    assert capsys.readouterr().err.count("has no rows yet") == 1


def test_a_watched_run_that_was_deleted_is_an_error(tmp_path):
    with pytest.raises(RunError, match="no such folder"):
        RunReader([tmp_path / "gone"]).read_all()


def test_several_runs_that_have_not_logged_yet_are_waited_for(tmp_path):
    damaged = write_log(tmp_path / "run")
    RunDirectory(damaged).log.write_text("step,loss\n1,x\n")
    (tmp_path / "young").mkdir()
    with pytest.raises(NoRowsError):
        RunReader([damaged, add_config(tmp_path / "young", run={"seed": 0})]).read_all()


# What is refused


@pytest.mark.parametrize(
    "content, problem",
    [
        (None, "has no training_log.csv"),
        ("", "has no rows yet"),
        ("step,mlm_loss\n1,2", "has no rows yet"),
        ("step,mlm_loss\n1,2.0\n2,\n3;1.0\n", "line 4: 1 cells, not 2"),
        ("step,mlm_loss\n,3.0\n", "rows without a step"),
        ("step,epoch\n1,2.0\n", "nothing to draw"),
    ],
)
def test_a_log_that_cannot_be_drawn_is_an_error_and_leaves_no_page(tmp_path, content, problem):
    if content is not None:
        RunDirectory(tmp_path).log.write_text(content)
    assert problem in refused(tmp_path, ".")[0]
    assert not RunDirectory(tmp_path).page.exists()


def test_a_missing_folder_is_an_error(tmp_path):
    problem, hint = refused(tmp_path, write_log(tmp_path / "run"), "other")
    assert problem == "error: other is not a run: no such folder"
    assert "runs/NAME" in hint


def test_a_folder_of_runs_is_named_as_such(tmp_path):
    write_log(tmp_path / "all" / "run")
    problem, hint = refused(tmp_path, "all")
    assert problem == "error: all is not a run but contains runs: run"
    assert "electra plot all/run" in hint


def test_a_log_cut_in_the_middle_of_a_line_is_drawn(tmp_path):
    run = write_log(tmp_path / "run")
    with RunDirectory(run).log.open("a") as file:
        file.write("21,1.0,21")
    draw(run)
    assert runs_of(RunDirectory(run).page.read_text())[0]["x"]["steps"][-1] == 20


def test_among_several_runs_one_without_rows_is_passed_over(tmp_path):
    write_log(tmp_path / "run")
    RunDirectory(tmp_path).log.write_text("step,mlm_loss\n")
    done = run_electra(tmp_path, "plot", "run", ".", "--out", "page.html")
    assert done.returncode == 0
    assert len(runs_of((tmp_path / "page.html").read_text())) == 1
    assert "warning: training_log.csv has no rows yet" in done.stderr


def test_settings_that_cannot_be_read_are_told_and_the_curves_drawn(tmp_path):
    run = write_log(tmp_path / "run")
    RunDirectory(run).config.write_text("run: [1,\n")
    done = run_electra(tmp_path, "plot", "run")
    assert (done.returncode, done.stdout) == (0, "run/loss_curve.html\n")
    problem, hint = done.stderr.splitlines()
    assert problem.startswith("warning: run/config.yaml is not valid YAML")
    assert "drawn without the settings" in hint


@pytest.mark.parametrize("option", ["--out", "--png"])
def test_a_file_of_the_users_is_never_overwritten(tmp_path, option):
    write_log(tmp_path / "run")
    (tmp_path / "notes.txt").write_text("mine")
    done = run_electra(tmp_path, "plot", "run", option, "notes.txt")
    problem, hint = done.stderr.splitlines()
    assert done.returncode == 1
    assert problem == "error: notes.txt exists and was not written by electra"
    assert hint == f"  hint: choose another {option} FILE"
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("option", "name", "meant"), [("--out", "a.pdf", "a.html"), ("--png", "a.jpg", "a.png")]
)
def test_a_file_is_named_after_what_is_in_it(tmp_path, option, name, meant):
    with pytest.raises(RunError, match=f"{option} .*{name}: what it writes is not ") as error:
        draw(write_log(tmp_path / "run"), **{option.strip("-"): tmp_path / name})
    assert error.value.hint == f"name it {meant}"


@pytest.mark.parametrize("place", ["run", "run/training_log.csv/page.html"])
def test_a_place_that_cannot_be_written_is_an_error(tmp_path, place):
    with pytest.raises(RunError) as error:
        draw(write_log(tmp_path / "run"), out=tmp_path / place)
    assert "--out" in error.value.hint
