"""The loop on a real prepared folder: its depth, what loggers see, what skipping a batch undoes."""

import subprocess
import sys

import pytest
import torch
from command_line import electra_environment
from tiny_session import RecordingLogger, open_tiny

from electra_cli.errors import NonFiniteError
from electra_cli.run_directory import RunDirectory
from electra_cli.runs.loop import train

FRAMES = """
import sys, traceback
import torch
from electra_cli import cli

def step(self, *args, **kwargs):
    frames = [f for f in traceback.extract_stack() if "/electra_cli/" in f.filename]
    print(*(f"{f.filename.rpartition('/electra_cli/')[2]}:{f.name}" for f in frames), sep="\\n")
    sys.exit()

torch.optim.AdamW.step = step
cli.main(sys.argv[1:])
"""


def test_a_step_is_seven_frames_below_the_command_at_most(tmp_path, prepared):
    arguments = ["train", "--preset", "tiny", "--data", str(prepared), "--set=run.batch_size=4"]
    done = subprocess.run(
        [sys.executable, "-c", FRAMES, *arguments],
        cwd=tmp_path, env=electra_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    frames = done.stdout.split()
    assert frames[0] == "cli.py:main", done.stderr
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


def test_without_a_checkpoint_nothing_is_skipped(tmp_path, prepared):
    session = open_tiny(tmp_path, prepared, on_nonfinite="skip", save_every=100)
    model = session.trainer.model
    with torch.no_grad():
        model.discriminator.discriminator_predictions.dense.bias[0] = float("nan")
    with pytest.raises(NonFiniteError):
        train(session)
    session.close()
