"""What ends a run, or takes its place, loses nothing: hang-ups, broken pipes, memory, names."""

import os
import pty
import resource
import shlex
import signal
import subprocess
import threading

import pytest
from command_line import TINY, electra_command, electra_environment, run_electra, start_electra
from run_checks import assert_refused, assert_same_run, read_rows, wait_for_rows

pytestmark = pytest.mark.slow  # each starts commands that load torch


def test_a_terminal_that_is_closed_stops_and_saves_a_run(tmp_path, prepared, finished):
    """The kernel sends SIGHUP, and whatever is written from then on fails."""
    command = electra_command("train", "--data", prepared, "--run-name", "cut", *TINY)
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        os.execve(command[0], command, electra_environment())
    threading.Thread(target=_read_all, args=(terminal,), daemon=True).start()
    wait_for_rows(tmp_path / "runs" / "cut" / "training_log.csv", 1)
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    root = tmp_path / "runs" / "cut"
    last = read_rows(root)[-1]["step"]
    assert int(last) <= max(int(path.name[5:]) for path in (root / "checkpoints").iterdir())
    assert run_electra(tmp_path, "resume", "runs/cut").returncode == 0
    assert_same_run(root, finished.root)


def _read_all(terminal: int) -> None:
    try:
        while os.read(terminal, 4_096):
            pass
    except OSError:  # closed
        return


def test_a_reader_that_goes_away_stops_nothing(tmp_path, prepared, finished):
    process = start_electra(tmp_path, "train", "--data", prepared, "--run-name", "piped", *TINY)
    process.stderr.close()
    assert process.wait(timeout=240) == 0
    assert_same_run(tmp_path / "runs" / "piped", finished.root)


def test_nohup_keeps_a_run_from_hearing_a_hangup(tmp_path, prepared, finished):
    command = electra_command("train", "--data", prepared, "--run-name", "kept", *TINY)
    process = subprocess.Popen(
        ["nohup", *command],
        cwd=tmp_path,
        env=electra_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for_rows(tmp_path / "runs" / "kept" / "training_log.csv", 1)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=240) == 0
    assert_same_run(tmp_path / "runs" / "kept", finished.root)


def test_out_of_memory_names_the_setting_and_the_run_goes_on_with_it(tmp_path, prepared):
    """64 windows need more than the process may map."""
    large = ["--run-name", "a run", *TINY, "--set=model.intermediate_size=30000"]
    large += ["--set=run.batch_size=64", "--set=run.num_steps=1", "--set=run.micro_batch_size=64"]
    done = run_electra(tmp_path, "train", "--data", prepared, *large, limit=limit_memory)
    assert_refused(done, "out of memory: ", "(64 windows per forward pass)")
    command = done.stderr.strip().splitlines()[-1].partition("go on with: ")[2]
    assert command == "electra resume 'runs/a run' --set run.micro_batch_size=32"
    done = run_electra(tmp_path, *shlex.split(command)[1:])  # with all the memory there is
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "a run" / "discriminator").is_dir()


def limit_memory() -> None:
    """What the process may map in all."""
    resource.setrlimit(resource.RLIMIT_AS, (1_900_000_000, 1_900_000_000))


def test_going_back_and_ending_again_sets_aside_whatever_was_there(tmp_path, run_copy, finished):
    rows = read_rows(run_copy)
    (run_copy / "discriminator" / "fine-tuned.bin").write_text("days of work")
    done = run_electra(tmp_path, "resume", "runs/whole", "--step", 5)
    assert done.returncode == 0, done.stderr
    aside = run_copy / "aside-discriminator" / "fine-tuned.bin"
    assert aside.read_text() == "days of work"
    for name in ("training_log.csv", "aside-discriminator", "aside-generator"):
        assert name in done.stderr
    assert_same_run(run_copy, finished.root)

    done = run_electra(tmp_path, "resume", "runs/whole", "--step", 0, "--max-minutes", 0)
    assert done.returncode == 130, done.stderr  # by mistake
    assert "is set aside: runs/whole/aside-2-training_log.csv" in done.stderr
    for name in ("aside-training_log.csv", "aside-2-training_log.csv"):
        (run_copy / name).replace(run_copy / "training_log.csv")
        assert read_rows(run_copy) == rows
    assert b"resumed" in (run_copy / "aside-2-events.jsonl").read_bytes()
    names = {path.name for path in (run_copy / "checkpoints").iterdir()}
    assert {"aside-step-00000012", "aside-2-step-00000012"} < names


def test_a_finished_run_that_is_resumed_keeps_what_is_in_its_model_folders(tmp_path, run_copy):
    mine = run_copy / "generator" / "mine.txt"
    mine.write_text("mine")
    for _ in range(2):
        done = run_electra(tmp_path, "resume", "runs/whole")
        assert done.returncode == 0, done.stderr
    asides = sorted(path.name for path in run_copy.glob("aside*"))
    assert asides == ["aside-generator"]  # once: the second time nothing differed
    assert (run_copy / "aside-generator" / "mine.txt").read_text() == "mine"


def test_three_starts_in_one_second_are_three_runs(tmp_path, prepared):
    preset = ["--data", prepared, *TINY, "--set=run.num_steps=1"]
    runs = [start_electra(tmp_path, "train", "--preset", "tiny", *preset) for _ in range(3)]
    found = []
    for process in runs:
        stdout, stderr = process.communicate(timeout=240)
        assert process.returncode == 0, stderr
        found.append(stdout.strip())
    assert len(set(found)) == 3
    for root in found:
        assert (tmp_path / root / "discriminator" / "model.safetensors").is_file()
    assert len(list((tmp_path / "runs").iterdir())) == 3


def test_one_of_several_processes_is_refused(tmp_path, prepared, run_copy):
    environment = {**electra_environment(), "WORLD_SIZE": "2", "RANK": "1"}
    for arguments in (["train", "--data", prepared, *TINY], ["resume", "runs/whole"]):
        done = subprocess.run(
            electra_command(*arguments),
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert_refused(done, "one of 2", "without torchrun")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["whole"]


def test_every_file_has_the_mode_that_the_umask_gives(prepared, finished):
    umask = os.umask(0)
    os.umask(umask)
    files = [path for root in (prepared, finished.root) for path in root.rglob("*")]
    modes = {path: path.stat().st_mode & 0o777 for path in files if path.is_file()}
    assert {path.suffix for path in modes} >= {".safetensors", ".arrow", ".json", ".html", ".png"}
    assert [path for path, mode in modes.items() if mode != 0o666 & ~umask] == []
