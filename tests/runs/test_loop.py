"""The loop on a real prepared folder: its depth, what loggers see, what skipping a batch undoes."""

import subprocess
import sys
import time

import pytest
import torch
from command_line import electra_environment
from conftest import CPU, tiny_config
from tiny_session import FullDisk, RecordingLogger, open_tiny

from electra_cli import live
from electra_cli.errors import DiskFullError, NonFiniteError, RunError
from electra_cli.run_directory import RunDirectory
from electra_cli.run_events import read_events
from electra_cli.runs.health import HealthWarning
from electra_cli.runs.loop import train, train_to_end, warn_about
from electra_cli.runs.session import create_run
from electra_cli.stopping import stop_request

FRAMES = """
import sys, traceback
import torch
from electra_cli import cli

take_step = torch.optim.AdamW.step

def step(self, *args, **kwargs):
    frames = [f for f in traceback.extract_stack() if "/electra_cli/" in f.filename]
    if any(f.name == "_time_doubling_steps" for f in frames):  # the plan times steps before the run
        return take_step(self, *args, **kwargs)
    print(*(f"{f.filename.rpartition('/electra_cli/')[2]}:{f.name}" for f in frames), sep="\\n")
    sys.exit()

torch.optim.AdamW.step = step
cli.main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_step_is_seven_frames_below_the_command_at_most(tmp_path, prepared):
    arguments = ["train", "--preset", "tiny", "--data", str(prepared), "--set=run.batch_size=4"]
    done = subprocess.run(
        [sys.executable, "-c", FRAMES, *arguments],
        cwd=tmp_path, env=electra_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    frames = done.stdout.split()
    assert frames[0] == "cli/__init__.py:main", done.stderr
    assert frames[-2:] == ["runs/loop.py:train", "training/trainer.py:train_step"]
    assert len(frames) <= 7, frames


def read_steps(run: RunDirectory) -> list[float | None]:
    return run.read_log()["step"]


def test_a_further_logger_sees_every_row_once(tmp_path, prepared):
    session, logger = open_tiny(tmp_path, prepared), RecordingLogger()
    train(session, [logger])
    session.close()
    assert [row["step"] for row in logger.rows] == read_steps(session.run) == [1, 2, 3, 4, 5, 6]
    assert [row["loss"] for row in logger.rows] == session.run.read_log()["loss"]
    assert ["validation_loss" in row for row in logger.rows] == [False, False, True] * 2
    assert logger.rewound == []


@pytest.mark.filterwarnings("ignore")
def test_skipping_a_batch_rewinds_log_and_loggers_alike(tmp_path, prepared):
    session = open_tiny(tmp_path, prepared, on_nonfinite="skip", save_every=2)
    logger, head = RecordingLogger(), session.trainer.model.discriminator.discriminator_predictions
    spoiled = iter([True])

    def spoil(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor | None:
        is_fourth = module.training and session.trainer.step == 3
        return output * float("nan") if is_fourth and next(spoiled, False) else None

    head.register_forward_hook(spoil)
    train(session, [logger])
    session.close()
    assert logger.rewound == [2]
    assert session.batches.skipped == {4}
    assert session.batches.state().num_read == 7  # six steps, and the one that was skipped
    assert [row["step"] for row in logger.rows] == read_steps(session.run) == [1, 2, 3, 4, 5, 6]
    newest = session.checkpoints.load_newest()
    assert newest is not None
    assert newest.step == 6
    assert newest.checkpoint.state.log_rows == 6


def test_a_run_that_stops_says_why_and_how_to_go_on(tmp_path, prepared, capsys):
    session = open_tiny(tmp_path, prepared)
    object.__setattr__(session, "loggers", (FullDisk(),))
    object.__setattr__(session, "evaluation", [])
    with pytest.raises(DiskFullError) as raised:
        train_to_end(session)
    assert raised.value.hint == f"make room on the disk, then: electra resume {session.run.root}"
    events = read_events(session.run.events)
    assert [(event.step, event.kind, event.text) for event in events] == [
        (1, "stopped", "no room for the row")
    ]
    assert "no document is held out" in capsys.readouterr().err


def test_every_step_is_shown_and_held_out_text_is_not_missed(
    tmp_path, prepared, capsys, monkeypatch
):
    monkeypatch.setattr(live, "PLAIN_EVERY_SECONDS", 0.0)
    session = open_tiny(tmp_path, prepared)
    train(session)
    session.close()
    shown = capsys.readouterr().err
    assert [step for step in range(7) if f"training: {step}/6" in shown] == [1, 2, 3, 4, 5, 6]
    assert shown.count("tokens/s") == 6
    assert [step for step in range(7) if f"step {step} held-out" in shown] == [3, 6]
    assert "no document is held out" not in shown


def test_a_stop_request_saves_and_says_how_to_go_on(tmp_path, prepared, capsys):
    session = open_tiny(tmp_path, prepared, save_every=100)
    with stop_request(max_minutes=0), pytest.raises(KeyboardInterrupt):
        train(session)
    session.close()
    assert session.checkpoints.steps() == [1]
    said = "--max-minutes 0: stopped and saved at step 1"
    assert [event.text for event in read_events(session.run.events)] == [said]
    shown = capsys.readouterr().err
    assert said in shown
    assert f"electra resume {session.run.root}" in shown


def test_a_stop_request_at_the_last_step_ends_before_the_curves_are_drawn(tmp_path, prepared):
    session = open_tiny(tmp_path, prepared, num_steps=1)
    with stop_request(max_minutes=0), pytest.raises(KeyboardInterrupt):
        train_to_end(session)
    assert session.checkpoints.steps() == [1]
    assert session.run.model("discriminator").is_dir()
    assert not session.run.page.exists()


def test_at_the_end_the_folder_is_the_result(finished):
    assert finished.stdout == "runs/whole\n"
    assert "the trained encoder: runs/whole/discriminator" in finished.stderr
    assert "electra plot runs/whole" in finished.stderr
    run = RunDirectory(finished.root)
    assert run.page.is_file()
    assert run.picture.is_file()
    assert [event.kind for event in read_events(run.events) if event.kind != "warning"] == []


def test_a_warning_is_shown_and_kept_with_the_run_if_there_is_one(tmp_path, capsys):
    run = create_run(tmp_path / "run", tiny_config(), CPU)
    warning = HealthWarning("plateau", "nothing is learned", "wait")
    warn_about(None, 0, [warning])
    warn_about(run, 3, [warning])
    assert capsys.readouterr().err.count("nothing is learned") == 2
    assert [(e.step, e.kind, e.text, e.key) for e in read_events(run.events)] == [
        (3, "warning", "nothing is learned", "plateau")
    ]


class SlowLogger(RecordingLogger):
    """Gives the thread that saves some time after each row."""

    def append_row(self, row):
        super().append_row(row)
        time.sleep(0.05)


def test_a_save_that_failed_ends_the_run_before_the_next_one(tmp_path, prepared):
    session = open_tiny(tmp_path, prepared, num_steps=20, save_every=10)
    session.run.checkpoints.write_text("a file where the folder should be")
    with pytest.raises(RunError, match="could not be saved"):
        train(session, [SlowLogger()])
    assert 10 <= session.trainer.step < 20
    session.close()


def test_without_a_checkpoint_nothing_is_skipped(tmp_path, prepared):
    session = open_tiny(tmp_path, prepared, on_nonfinite="skip", save_every=100)
    model = session.trainer.model
    with torch.no_grad():
        model.discriminator.discriminator_predictions.dense.bias[0] = float("nan")
    with pytest.raises(NonFiniteError):
        train(session)
    session.close()
