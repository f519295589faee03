import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from electra_cli.errors import RunError
from electra_cli.run_directory import RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path)


def append_steps(run: RunDirectory, *steps: int) -> None:
    for step in steps:
        run.append_row({"step": step, "loss": 1 / step, "validation_loss": None})


def test_the_files_of_a_run_lie_in_its_folder(run):
    assert [path.relative_to(run.root).as_posix() for path in (run.config, run.log, run.page)] == [
        "config.yaml",
        "training_log.csv",
        "loss_curve.html",
    ]


def test_what_is_appended_is_read(run):
    append_steps(run, 1, 3)
    assert run.read_log() == {"step": [1, 3], "loss": [1, 1 / 3], "validation_loss": [None, None]}


def test_the_log_is_a_csv_file_with_one_header(run):
    append_steps(run, 1, 2)
    assert run.log.read_bytes() == b"step,loss,validation_loss\n1,1.0,\n2,0.5,\n"


@settings(deadline=None)  # the first example loads pyarrow
@given(values=st.lists(st.none() | st.floats(allow_nan=False), min_size=1, max_size=5))
def test_numbers_are_read_as_they_were_written(tmp_path_factory, values):
    run = RunDirectory(tmp_path_factory.mktemp("run"))
    for value in values:
        run.append_row({"step": 1, "loss": value})
    assert run.read_log()["loss"] == values


def test_every_row_is_on_disk_when_append_returns(run):
    append_steps(run, 1)
    assert run.read_log()["step"] == [1]
    append_steps(run, 2)
    assert run.read_log()["step"] == [1, 2]


def test_a_log_of_an_older_version_is_widened(run):
    run.log.write_text("step,old\n1,7.0\n")
    run.append_row({"step": 2, "loss": 0.5})
    assert run.read_log() == {"step": [1, 2], "old": [7, None], "loss": [None, 0.5]}


def test_rows_may_lack_columns_and_bring_new_ones(run):
    run.append_row({"step": 1, "loss": 0.5})
    run.append_row({"step": 2, "new": 7.0})
    run.append_row({"new": 8.0, "step": 3, "loss": 0.25})
    assert run.log.read_text() == "step,loss,new\n1,0.5,\n2,,7.0\n3,0.25,8.0\n"
    assert [path.name for path in run.root.iterdir()] == ["training_log.csv"]


def test_a_row_that_there_is_no_room_for_leaves_the_log_as_it_was(run):
    append_steps(run, 1, 2)
    before = run.log.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 3, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            append_steps(run, 3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert run.log.read_bytes() == before


def test_a_half_written_last_line_is_left_out(run):
    append_steps(run, 1, 2)
    with run.log.open("a") as file:
        file.write("3,0.3333")
    assert run.read_log()["step"] == [1, 2]


def test_a_log_saved_on_windows_is_read(run):
    run.log.write_bytes(b"\xef\xbb\xbfstep,loss\r\n1,0.5\r\n2,\r\n")
    assert run.read_log() == {"step": [1, 2], "loss": [0.5, None]}


def test_a_log_longer_than_what_is_parsed_at_once_is_whole(run):
    rows = 20_000
    run.log.write_text("step,loss\n" + "".join(f"{i},{i / 7}\n" for i in range(rows)))
    assert run.read_log() == {"step": list(range(rows)), "loss": [i / 7 for i in range(rows)]}


@pytest.mark.parametrize("step, left", [(0, []), (2, [1, 2]), (3, [1, 2]), (9, [1, 2, 5])])
def test_truncation_keeps_rows_up_to_the_step(run, step, left):
    append_steps(run, 1, 2, 5)
    run.truncate_log(step)
    header, *rows = run.log.read_text().splitlines()
    assert header == "step,loss,validation_loss"
    assert [int(row.split(",")[0]) for row in rows] == left


def test_truncation_keeps_the_bytes_of_the_rows(run):
    append_steps(run, 3, 7, 11)
    before = run.log.read_bytes()
    run.truncate_log(11)
    assert run.log.read_bytes() == before


@pytest.mark.parametrize("half", ["5,0.2", "5", "5,0.2,\0\0"])
def test_truncation_drops_a_half_written_line_so_that_appending_goes_on(run, half):
    append_steps(run, 1, 4)
    with run.log.open("a") as file:
        file.write(half)
    run.truncate_log(4)
    append_steps(run, 5)
    assert run.read_log()["step"] == [1, 4, 5]


@pytest.mark.parametrize("content", [None, "", "step,lo"])
def test_a_log_that_never_began_begins_after_truncation(run, content):
    if content is not None:
        run.log.write_text(content)
    run.truncate_log(0)
    append_steps(run, 1)
    assert run.read_log()["step"] == [1]


def test_truncation_that_fails_leaves_the_log(run):
    run.log.write_text("step,loss\n1,0.5\nx,0.25\n")
    with pytest.raises(RunError, match="line 3: step is 'x', not a number"):
        run.truncate_log(1)
    assert run.log.read_text() == "step,loss\n1,0.5\nx,0.25\n"


@pytest.mark.parametrize(
    "content, problem",
    [
        (None, "has no training_log.csv"),
        ("", "has no rows yet"),
        ("step,loss", "has no rows yet"),
        ("step,loss\n", "has no rows yet"),
        ("step,loss\n1,0", "has no rows yet"),
        ("step,loss\n1,0.5\n2\n3,0.5\n", "line 3: 1 cells, not 2"),
        ("step,loss\n1,0.5\n2,a loss\n", "line 3: loss is 'a loss', not a number"),
        ("step,loss\n1,\n\n3,0.5\n", "line 3: 1 cells, not 2"),
        ("step,loss\n1,x\n2\n", "line 2: loss is 'x', not a number"),
        ("step,loss\n1,1_0\n", "cannot be read: .* invalid value '1_0'"),
        ("step,loss,loss\n1,2,3\n", "two columns 'loss'"),
    ],
)
def test_a_log_that_cannot_be_read_is_an_error_with_its_place(run, content, problem):
    if content is not None:
        run.log.write_text(content)
    with pytest.raises(RunError, match=problem):
        run.read_log()


def test_a_column_may_be_empty_and_a_log_may_be_one_column(run):
    run.log.write_text("loss\n\n0.5\n\n")
    assert run.read_log() == {"loss": [None, 0.5, None]}
    assert run.count_rows() == 3
    run.log.write_text("step,loss\n,1.0\n2,\n")
    assert run.read_log() == {"step": [None, 2], "loss": [1, None]}


def test_rows_are_counted_without_the_half_written_one(run):
    assert run.count_rows() == 0
    append_steps(run, 1, 2, 5)
    with run.log.open("a") as file:
        file.write("6,0.2")
    assert run.count_rows() == 3


def test_a_log_without_steps_is_not_cut(run):
    run.log.write_text("loss\n0.5\n")
    with pytest.raises(RunError, match="has no column step"):
        run.truncate_log(1)


def test_a_binary_file_is_an_error_and_no_traceback(run):
    run.log.write_bytes(bytes(range(256)) * 40)
    with pytest.raises(RunError):
        run.read_log()


def test_the_module_is_light():
    script = (
        "import sys, electra_cli.run_directory;"
        "print({'torch', 'numpy', 'pyarrow', 'pydantic', 'yaml'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", script]
    assert subprocess.run(command, check=True, capture_output=True).stdout == b"set()\n"
