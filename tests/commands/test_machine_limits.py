"""What a user sees of the machine's limits, and of data that was compared before."""

import os
import resource
import shutil
import subprocess
from pathlib import Path

import pytest
from command_line import TINY, electra_command, electra_environment

pytestmark = pytest.mark.slow  # each command loads torch


def dry_run(folder: Path, data: Path, *options: str, limit=lambda: None):
    environment = {**electra_environment(), "XDG_CACHE_HOME": str(folder / "cache")}
    del environment["OMP_NUM_THREADS"]
    return subprocess.run(
        electra_command("train", *TINY, "--data", data, "--dry-run", *options),
        preexec_fn=limit,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def limit_machine() -> None:
    """One core and 20 GB of addresses, as a batch system may."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    resource.setrlimit(resource.RLIMIT_AS, (20 << 30, 20 << 30))


def test_the_plan_knows_the_limits_of_the_process(tmp_path, prepared):
    done = dry_run(tmp_path, prepared, limit=limit_machine)
    assert done.returncode == 0, done.stderr
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert f" of {min(20, installed / 2**30):.1f} GB" in done.stderr
    assert "cpu, fp32, threads: 1, steps at " in done.stderr


def test_data_is_compared_again_when_it_changed_or_on_request(tmp_path, prepared):
    data = Path(shutil.copytree(prepared, tmp_path / "data"))
    assert dry_run(tmp_path, data).returncode == 0
    path = next(data.glob("train-*.arrow"))
    before, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    for options in ((), ("--verify-data",)):
        done = dry_run(tmp_path, data, *options)
        assert done.returncode == 1
        assert f"{path} is damaged: its checksum differs" in done.stderr


@pytest.mark.parametrize(
    ("kind", "mebibytes", "name"),
    [
        *(
            (resource.RLIMIT_AS, each, "ulimit -v")
            for each in (100, 400, 450, 500, 700, 800, 1_599)
        ),
        *((resource.RLIMIT_DATA, each, "ulimit -d") for each in (50, 100, 150, 350, 799)),
    ],
)
def test_too_little_memory_to_load_the_libraries_is_one_line(
    kind, mebibytes, name, tmp_path, prepared
):
    """At 400 MB they aborted, at 500 OpenBLAS had the last word, at 800 it never came back."""
    limits = (mebibytes << 20, mebibytes << 20)
    done = dry_run(tmp_path, prepared, limit=lambda: resource.setrlimit(kind, limits))
    problem, hint = done.stderr.splitlines()
    assert done.returncode == 1
    assert problem.startswith("error: there is not enough memory for electra train: ")
    assert problem.endswith(f"{name} allows {mebibytes:,}")
    assert name in hint


def test_the_shell_completes_within_little_memory(tmp_path):
    """The libraries are not loaded for that."""
    limits = (300 << 20, 300 << 20)
    completion = {
        "_ELECTRA_COMPLETE": "complete_bash",
        "COMP_WORDS": "electra train --pres",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(
        electra_command(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limits),
        cwd=tmp_path,
        env=electra_environment() | completion,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["--preset"], done.stderr
