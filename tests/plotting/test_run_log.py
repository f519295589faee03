import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plot_runs import add_checkpoints, write_log

from electra_cli.errors import RunError
from electra_cli.plotting.run_log import Mark, RunLog, read_run
from electra_cli.run_directory import NoRowsError, RunDirectory
from electra_cli.run_events import append_event


def read(root) -> RunLog:
    return read_run(RunDirectory(root), "run", {})


@settings(deadline=None)  # the first example loads pyarrow
@given(values=st.lists(st.none() | st.floats(allow_nan=False), min_size=1, max_size=5))
def test_the_arrays_hold_what_was_appended(tmp_path_factory, values):
    root = tmp_path_factory.mktemp("run")
    for step, value in enumerate(values):
        RunDirectory(root).append_row({"step": step, "loss": value})
    columns = read(root).columns
    assert list(columns) == ["step", "loss"]
    np.testing.assert_array_equal(columns["step"], np.arange(len(values)))
    np.testing.assert_array_equal(columns["loss"], np.array(values, dtype=float))


def test_a_good_log_is_parsed_once_and_not_line_by_line(tmp_path, monkeypatch):
    run = write_log(tmp_path / "run")
    monkeypatch.delattr(RunDirectory, "_read_rows")  # which takes ten times as long
    assert read(run).column("step").tolist() == list(range(1, 21))
    assert np.isnan(read(run).column("validation_loss")[:4]).all()


def test_a_row_that_is_being_written_is_left_out(tmp_path):
    run = write_log(tmp_path / "run")
    with RunDirectory(run).log.open("a") as file:
        file.write("21,1.0,21")
    assert read(run).column("step")[-1] == 20


@pytest.mark.parametrize(
    "content, problem",
    [
        ("step,mlm_loss\n1,2.0\n2\n", "line 3: 1 cells, not 2"),
        ("step,mlm_loss\n1,2.0\n2,1.0,3\n", "line 3: 3 cells, not 2"),
        ("step,mlm_loss\n1,2.0\n\n", "line 3: 1 cells, not 2"),
        ("step,mlm_loss\n1,2.0\n2,two\n", "line 3: mlm_loss is 'two', not a number"),
        ("step,mlm_loss\n1,2.0\n2,\x00\n", "line 3: mlm_loss is"),
        ('step,mlm_loss\n1,"2.0"\n', "line 2: mlm_loss is"),
        ("step,mlm_loss,mlm_loss\n1,2.0,3.0\n", "two columns 'mlm_loss'"),
        ("mlm_loss\n2.0\n", "rows without a step"),
        ("step,mlm_loss\n1,2.0\n,3.0\n", "rows without a step"),
        ("step,mlm_loss\n1,2.0\n3,2.0\n2,1.0\n", "line 4: step 2 comes after step 3"),
        ("step,mlm_loss\n1,2.0\n1,2.0\n", "line 3: step 1 comes after step 1"),
    ],
)
def test_a_damaged_log_is_named_with_its_line(tmp_path, content, problem):
    RunDirectory(tmp_path).log.write_text(content)
    with pytest.raises(RunError, match=problem):
        read(tmp_path)


@pytest.mark.parametrize("content", [None, "", "step,mlm", "step,mlm_loss\n", "step,loss\n1,2"])
def test_a_run_that_has_not_logged_yet_is_no_damage(tmp_path, content):
    RunDirectory(tmp_path).config.touch()
    if content is not None:
        RunDirectory(tmp_path).log.write_text(content)
    with pytest.raises(NoRowsError, match="has no rows yet"):
        read(tmp_path)


def test_lines_that_end_as_on_windows_are_read(tmp_path):
    RunDirectory(tmp_path).log.write_bytes(b"\xef\xbb\xbfstep,loss\r\n1,2.5\r\n")
    assert {name: c.tolist() for name, c in read(tmp_path).columns.items()} == {
        "step": [1],
        "loss": [2.5],
    }


def test_the_marks_are_what_happened_and_the_checkpoints_in_the_order_of_steps(tmp_path):
    run = add_checkpoints(write_log(tmp_path / "run"), 10, 20)
    (RunDirectory(run).checkpoints / ".step-00000030.partial").mkdir()
    append_event(RunDirectory(run).events, 3, "warning", "no context gain yet", key="plateau")
    append_event(RunDirectory(run).events, 12, "stopped", "Ctrl-C")
    marks = read(run).marks
    assert [(mark.step, mark.kind, mark.text) for mark in marks] == [
        (3, "warning", "no context gain yet"),
        (10, "checkpoint", ""),
        (12, "stopped", "Ctrl-C"),
        (20, "checkpoint", ""),
    ]
    assert marks[0].time.endswith("+00:00")


def test_a_stop_that_the_run_went_on_from_is_drawn_as_its_resume():
    marks = [Mark(5, "stopped", ""), Mark(5, "resumed", ""), Mark(9, "stopped", "")]
    assert RunLog("run", {}, marks=marks).drawn_marks() == marks[1:]
