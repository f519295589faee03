"""Faults of the machine, made for real on real runs: nothing that was saved is ever lost."""

import itertools
import math
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from command_line import (
    TINY,
    WORDS,
    electra_command,
    electra_environment,
    run_electra,
    start_electra,
)
from run_checks import (
    assert_refused,
    assert_same_run,
    change_weight,
    event_texts,
    final_weights,
    read_rows,
    wait_for_rows,
    wait_until,
)

from electra_cli.training.checkpoint import CheckpointManager
from electra_cli.training.checkpoint_damage import find_damage

pytestmark = pytest.mark.slow  # each starts the command several times

# A run that goes on until it is stopped.
ENDLESS = [*TINY, "--set=run.num_steps=1000000", "--set=run.save_every=1000000"]


def test_the_second_process_on_a_run_is_refused_until_the_first_is_gone(tmp_path, prepared):
    first = start_electra(tmp_path, "train", "--data", prepared, "--run-name", "one", *ENDLESS)
    wait_for_rows(tmp_path / "runs" / "one" / "training_log.csv", 2)
    second = run_electra(tmp_path, "resume", "runs/one")
    assert_refused(second, f"runs/one is in use by process {first.pid} on")
    first.kill()
    first.communicate()
    third = run_electra(tmp_path, "resume", "runs/one", "--max-minutes", 0)
    assert third.returncode == 130, third.stderr
    assert "--max-minutes 0: stopped and saved at step 1" in third.stderr
    assert event_texts(tmp_path / "runs" / "one", "stopped")[0].startswith("--max-minutes 0")


def test_a_second_sigint_ends_at_once_and_harms_nothing(tmp_path, prepared):
    """Weights large enough that the save is still being written when the second one comes."""
    wide = [
        "--set=model.intermediate_size=60000",
        "--set=run.batch_size=1",
        "--set=run.log_every=1",
    ]
    process = start_electra(
        tmp_path,
        "train",
        "--data",
        prepared,
        "--run-name",
        "big",
        *ENDLESS,
        *wide,
        "--set=run.eval_every=1000000",
    )
    checkpoints = tmp_path / "runs" / "big" / "checkpoints"
    wait_for_rows(tmp_path / "runs" / "big" / "training_log.csv", 2)
    process.send_signal(signal.SIGINT)
    wait_until(lambda: any(checkpoints.glob(".step-*.partial")), "the save")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    manager = CheckpointManager(checkpoints, keep=3)
    assert manager.steps() == [0]
    assert find_damage(manager.path_of(0), 0) is None
    assert any(checkpoints.glob(".step-*.partial"))  # so it was saving
    manager.close()


@pytest.fixture(scope="session")
def backward_clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library under which the time of day runs backwards, a minute at each look."""
    folder = tmp_path_factory.mktemp("clock")
    (folder / "clock.c").write_text(
        """
        #define _GNU_SOURCE
        #include <time.h>
        #include <sys/syscall.h>
        #include <sys/time.h>
        #include <unistd.h>
        static long looks;
        int clock_gettime(clockid_t clock, struct timespec *now) {
            int failed = syscall(SYS_clock_gettime, clock, now);
            if (clock == CLOCK_REALTIME) now->tv_sec -= 60 * __sync_add_and_fetch(&looks, 1);
            return failed;
        }
        int gettimeofday(struct timeval *now, void *zone) {
            struct timespec exact;
            clock_gettime(CLOCK_REALTIME, &exact);
            now->tv_sec = exact.tv_sec; now->tv_usec = exact.tv_nsec / 1000;
            return 0;
        }
        time_t time(time_t *result) {
            struct timespec exact;
            clock_gettime(CLOCK_REALTIME, &exact);
            if (result) *result = exact.tv_sec;
            return exact.tv_sec;
        }
        """
    )
    library = folder / "clock.so"
    command = ["cc", "-shared", "-fPIC", "-O1", str(folder / "clock.c"), "-o", str(library)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs a C compiler: {error}")
    return library


def test_a_clock_that_runs_backwards_harms_nothing(
    tmp_path, prepared, finished, backward_clock, monkeypatch
):
    monkeypatch.setenv("LD_PRELOAD", str(backward_clock))
    look = "import time; a = time.time(); print(time.time() < a - 50)"
    seen = subprocess.run(["python3", "-c", look], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "True"
    base = ["train", "--data", prepared, "--run-name"]
    done = run_electra(tmp_path, *base, "whole", *TINY)
    assert done.returncode == 0, done.stderr
    root = tmp_path / "runs" / "whole"
    assert_same_run(root, finished.root)
    log = (root / "training_log.csv").read_text().splitlines()
    column = log[0].split(",").index("elapsed_seconds")
    elapsed = [float(line.split(",")[column]) for line in log[1:]]
    assert elapsed == sorted(elapsed)
    assert elapsed[0] > 0
    started = time.monotonic()
    done = run_electra(tmp_path, *base, "limited", *ENDLESS, "--max-minutes", 0.05)
    assert done.returncode == 130, done.stderr
    assert time.monotonic() - started > 3
    assert "--max-minutes 0.05: stopped and saved at step" in done.stderr


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A read-only mount: tests may run as root, whom permissions do not stop."""
    try:
        for options in (["--bind"], ["-o", "remount,bind,ro"]):
            command = ["mount", *options, str(folder), str(folder)]
            subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs the right to mount: {error}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_read_only_run_is_refused_and_still_verified(tmp_path, run_copy):
    with read_only(run_copy):
        done = run_electra(tmp_path, "resume", run_copy)
        assert_refused(done, "whole cannot be written: Read-only file system", "writable")
        verified = run_electra(tmp_path, "resume", run_copy, "--verify")
        assert verified.returncode == 0, verified.stderr
        assert verified.stdout.startswith("steps 11 to 12 came out the same, bit for bit, in ")


def test_data_and_a_home_that_are_read_only_are_trained_on(tmp_path, prepared):
    home = tmp_path / "home"
    shutil.copytree(prepared, home / "words")
    environment = electra_environment() | {"HOME": str(home), "XDG_CACHE_HOME": str(home / "x")}
    environment.pop("MPLCONFIGDIR")
    command = electra_command("train", "--data", home / "words", *TINY, "--set=run.num_steps=2")
    kept: dict[str, Any] = {"env": environment, "capture_output": True, "text": True}
    with read_only(home):
        done = subprocess.run(command, cwd=tmp_path, check=False, **kept)
        assert done.returncode == 0, done.stderr
        assert "atplotlib" not in done.stderr
        done = subprocess.run([*command, "--run-name=a"], cwd=home, check=False, **kept)
        assert_refused(done, "runs/a cannot be made: Read-only file system", "may write to")


def resize(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Write until nothing more fits."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        for size in itertools.chain(itertools.repeat(4096, 4096), itertools.repeat(1, 8192)):
            file.write(bytes(size))
    return filler


MANY_CHECKPOINTS = [*TINY, "--set=run.save_every=1", "--set=run.keep_checkpoints=50"]


def test_a_disk_that_fills_up_while_saving_stops_the_run(tiny_disk, prepared, finished):
    resize(tiny_disk, "2m")
    base = ["train", "--data", prepared, "--run-name", "full"]
    done = run_electra(tiny_disk, *base, *MANY_CHECKPOINTS)
    root = tiny_disk / "runs" / "full"
    last = CheckpointManager(root / "checkpoints", keep=3).steps()[-1]
    assert 0 < last < 12
    assert_refused(
        done,
        f"could not be saved: No space left on device; the last good checkpoint is {last}",
        "make room on the disk, then: electra resume runs/full",
    )
    resize(tiny_disk, "50m")
    resumed = run_electra(tiny_disk, "resume", "runs/full")
    assert resumed.returncode == 0, resumed.stderr
    assert f"from step {last} " in resumed.stderr
    assert_same_run(root, finished.root)


def test_a_disk_that_fills_up_while_saving_is_waited_for(tiny_disk, prepared):
    resize(tiny_disk, "2m")
    endless = [*ENDLESS, "--set=run.save_every=5", "--set=run.keep_checkpoints=1000"]
    base = ["train", "--data", prepared, "--run-name", "full", *endless]
    process = start_electra(tiny_disk, *base, "--set=run.on_full_disk=continue")
    root = tiny_disk / "runs" / "full"
    warning = process.stderr.readline()
    while "No space left" not in warning:
        warning = process.stderr.readline()
        assert warning, "it ended"
    assert warning.startswith("warning: ")
    assert "the last good checkpoint is" in warning
    resize(tiny_disk, "20m")
    rows = len(read_rows(root))
    wait_for_rows(root / "training_log.csv", rows + 10)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    steps = [int(row["step"]) for row in read_rows(root)]
    assert steps == list(range(2, 2 * len(steps) + 1, 2))  # none is missing
    manager = CheckpointManager(root / "checkpoints", keep=3)
    newest = manager.load_newest()
    assert not newest.damaged
    assert newest.step >= steps[-1]
    manager.close()


@pytest.mark.parametrize("setting", ["stop", "continue"])
def test_a_disk_that_fills_up_while_logging(tiny_disk, prepared, setting):
    options = [*ENDLESS, "--set", f"run.on_full_disk={setting}"]
    resize(tiny_disk, "3m")
    process = start_electra(tiny_disk, "train", "--data", prepared, "--run-name", "full", *options)
    root = tiny_disk / "runs" / "full"
    log = root / "training_log.csv"
    wait_for_rows(log, 3)
    filler = fill(tiny_disk)
    if setting == "stop":
        stdout, stderr = process.communicate(timeout=60)
        done = subprocess.CompletedProcess([], process.returncode, stdout, stderr)
        assert_refused(done, "training_log.csv could not be written: No space left on device")
        assert log.read_text().endswith("\n")  # no half row
        early = run_electra(tiny_disk, "resume", "runs/full")
        assert_refused(early, "could not be written: No space left on device", "make room")
        filler.unlink()
        resumed = run_electra(tiny_disk, "resume", "runs/full", "--max-minutes", 0)
        assert resumed.returncode == 130, resumed.stderr
        return
    warning = process.stderr.readline()
    while "No space left" not in warning:
        warning = process.stderr.readline()
        assert warning, "it ended"
    assert warning.startswith("warning: ")
    rows = log.read_text().count("\n")
    filler.unlink()
    wait_for_rows(log, rows + 5)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    steps = [int(row["step"]) for row in read_rows(root)]
    assert steps == list(range(2, 2 * len(steps) + 1, 2))


def test_a_limit_on_file_sizes_is_a_full_disk(tmp_path, prepared):
    """RLIMIT_FSIZE: no checkpoint fits from the beginning, and that is said before any step."""

    limited = ["sh", "-c", 'ulimit -f 100; exec "$@"', "sh"]
    done = subprocess.run(
        [*limited, *electra_command("train", "--data", prepared, "--run-name", "cut", *TINY)],
        cwd=tmp_path,
        env=electra_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert_refused(done, "step-00000000 could not be saved: File too large", "there is none yet")
    assert not (tmp_path / "runs" / "cut" / "training_log.csv").exists()


# Rates at which the loss is NaN after a few updates.
DIVERGING = ["--learning-rate=1e20", "--set=optim.max_grad_norm=null", "--set=run.save_every=1"]


def test_a_loss_that_is_not_finite_stops_with_the_last_good_checkpoint(tmp_path, prepared):
    base = ["train", "--data", prepared, "--run-name", "wild", *TINY, *DIVERGING]
    done = run_electra(tmp_path, *base)
    assert_refused(done, "the loss or gradient of step", "is not finite", "--learning-rate")
    root = tmp_path / "runs" / "wild"
    manager = CheckpointManager(root / "checkpoints", keep=3)
    newest = manager.load_newest()
    manager.close()
    assert f"of step {newest.step + 1} is not finite" in done.stderr
    assert all(tensor.isfinite().all() for tensor in newest.checkpoint.tensors["model"].values())
    assert event_texts(root, "stopped")[0].startswith(
        f"the loss or gradient of step {newest.step + 1}"
    )


def test_so_many_batches_are_skipped_and_no_more(tmp_path, prepared):
    base = ["train", "--data", prepared, "--run-name", "wild", *TINY, *DIVERGING]
    skipping = ["--set=run.on_nonfinite=skip", "--set=run.max_skipped_batches=2"]
    done = run_electra(tmp_path, *base, *skipping)
    assert_refused(done, "is not finite", "2 batches were skipped before")
    assert done.stderr.count("its batch is skipped") == 2
    warnings = event_texts(tmp_path / "runs" / "wild", "warning")
    assert sum("was skipped" in warning for warning in warnings) == 2


def test_a_batch_whose_loss_is_not_finite_is_skipped_for_good(tmp_path):
    """Infinite embeddings of late positions, which one long document alone reaches."""
    draw = random.Random(0)
    documents = [" ".join(draw.choices(WORDS, k=4)) for _ in range(60)]
    documents.append(" ".join(draw.choices(WORDS, k=25)))
    (tmp_path / "corpus.txt").write_text("\n\n".join(documents))
    options = ["--out", "words", "--vocab-size", 150, "--validation-fraction", 0]
    done = run_electra(tmp_path, "prepare", "corpus.txt", *options)
    assert done.returncode == 0, done.stderr
    base = ["train", "--data", "words", "--run-name", "odd", "--max-minutes", 0]
    assert run_electra(tmp_path, *base, *TINY).returncode == 130
    root = tmp_path / "runs" / "odd"
    name = "discriminator.electra.embeddings.position_embeddings.weight"
    change_weight(
        root / "checkpoints" / "step-00000001", name, lambda weight: weight[24:].fill_(math.inf)
    )
    stopped = run_electra(tmp_path, "resume", root)
    assert_refused(stopped, "is not finite (training documents")
    skip = ["--set", "run.on_nonfinite=skip", "--set", "run.save_every=1"]
    done = run_electra(tmp_path, "resume", root, *skip, "--set", "run.keep_checkpoints=50")
    assert done.returncode == 0, done.stderr
    assert "its batch is skipped, 1 of at most 3" in done.stderr
    assert any("was skipped" in warning for warning in event_texts(root, "warning"))
    assert all(row["loss"] not in ("nan", "inf") for row in read_rows(root))
    weights = final_weights(root)
    assert weights.pop(name)[:24].isfinite().all()
    assert all(weight.isfinite().all() for weight in weights.values())
    # A resume from after the skip knows of it, and one from before finds it again.
    for step in (11, 1):
        copy = tmp_path / "runs" / f"from-{step}"
        shutil.copytree(root, copy)
        again = run_electra(tmp_path, "resume", copy, "--step", step)
        assert again.returncode == 0, again.stderr
        assert ("its batch is skipped" in again.stderr) == (step == 1)
        assert_same_run(copy, root)
