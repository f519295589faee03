"""Cores and memory that a process may use, from the files of control groups."""

import math
import os
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModel, AutoTokenizer

from electra_cli.data.tokenizer import load_tokenizer
from electra_cli.machine import usable_cores, usable_memory_bytes
from electra_cli.model.encoders import open_encoder
from electra_cli.model.finetuned import open_finetuned

INSTALLED = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
AFFINITY = len(os.sched_getaffinity(0))
NO_LIMIT = "9223372036854771712"  # of version 1
V2 = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw"
V1_MEMORY = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
V1_CPU = "32 31 0:29 / /sys/fs/cgroup/cpu\\040acct rw - cgroup cgroup rw,cpu,cpuacct"
# A container of version 1: the mount begins at its own group, which is named from outside.
V1_CONTAINER = "35 31 0:32 /docker/ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory"


def fake_root(root: Path, groups: str, mounts: str, files: dict[str, str]) -> Path:
    written = {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts}
    written |= {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in written.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "megabytes"),
    [
        ("0::/a/b", V2, {"a/b/memory.max": "max", "a/b/memory.high": "max"}, None),
        ("0::/a/b", V2, {"a/b/memory.max": str(100 << 20)}, 100),
        ("0::/a/b", V2, {"a/b/memory.max": "max", "a/memory.max": str(90 << 20)}, 90),
        ("0::/a", V2, {"a/memory.max": str(90 << 20), "a/memory.high": str(80 << 20)}, 80),
        ("0::/", V2, {"memory.max": str(70 << 20)}, 70),  # a container's own namespace
        ("0::/../c", V2, {"memory.max": str(70 << 20), "../c/memory.max": "1"}, 70),
        ("4:memory:/j", V1_MEMORY, {"memory/j/memory.limit_in_bytes": NO_LIMIT}, None),
        ("4:memory:/j", V1_MEMORY, {"memory/j/memory.limit_in_bytes": str(60 << 20)}, 60),
        ("4:memory:/j/k", V1_MEMORY, {"memory/j/memory.limit_in_bytes": str(60 << 20)}, 60),
        ("4:memory:/docker/ab", V1_CONTAINER, {"memory/memory.limit_in_bytes": "5242880"}, 5),
        ("4:cpu:/j", V1_MEMORY, {"memory/memory.limit_in_bytes": "1"}, None),  # not in it
        ("0::/", "", {}, None),
        ("", "nonsense", {}, None),
    ],
)
def test_memory_is_the_smallest_limit(tmp_path, groups, mounts, files, megabytes):
    found = usable_memory_bytes(fake_root(tmp_path, groups, mounts, files))
    assert found == (min(INSTALLED, megabytes << 20) if megabytes else INSTALLED)


def test_memory_is_at_most_what_ulimit_allows(tmp_path):
    program = "from electra_cli.machine import usable_memory_bytes as f; print(f())"
    limit = 3 << 30
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        done = subprocess.run(
            [sys.executable, "-c", program],
            preexec_fn=lambda kind=kind: resource.setrlimit(kind, (limit, limit)),
            check=True,
            capture_output=True,
        )
        assert int(done.stdout) == min(limit, usable_memory_bytes())


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "cores"),
    [
        ("0::/a", V2, {"a/cpu.max": "max 100000"}, math.inf),
        ("0::/a", V2, {"a/cpu.max": "50000 100000"}, 1),
        ("0::/a", V2, {"a/cpu.max": "110000 100000"}, 2),
        ("0::/a/b", V2, {"a/b/cpu.max": "400000 100000", "a/cpu.max": "100000 100000"}, 1),
        ("0::/a", V2, {"a/cpu.max": "max"}, math.inf),
        ("1:cpu,cpuacct:/j", V1_CPU, {"cpu acct/j/cpu.cfs_quota_us": "-1"}, math.inf),
        (
            "1:cpu,cpuacct:/j",
            V1_CPU,
            {"cpu acct/j/cpu.cfs_quota_us": "50000", "cpu acct/j/cpu.cfs_period_us": "100000"},
            1,
        ),
        ("0::/", V2, {}, math.inf),
    ],
)
def test_cores_are_those_of_affinity_within_the_smallest_quota(
    tmp_path, groups, mounts, files, cores
):
    assert usable_cores(fake_root(tmp_path, groups, mounts, files)) == min(AFFINITY, cores)


def test_a_process_on_one_core_knows_it():
    program = "from electra_cli.machine import usable_cores as f; print(f())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
        check=True,
        capture_output=True,
    )
    assert int(done.stdout) == 1


def test_a_real_group_limits_the_cores():
    group = Path(f"/sys/fs/cgroup/cpu/electra-test-{os.getpid()}")
    try:
        group.mkdir()
    except OSError:
        pytest.skip("needs the right to make a cgroup of version 1")
    try:
        (group / "cpu.cfs_period_us").write_text("100000")
        (group / "cpu.cfs_quota_us").write_text("100000")
        program = "from electra_cli.machine import usable_cores as f; print(f())"
        shell = 'echo $$ > "$1"/cgroup.procs; exec "$2" -c "$3"'
        command = ["bash", "-c", shell, "bash", str(group), sys.executable, program]
        done = subprocess.run(command, check=True, capture_output=True)
        assert int(done.stdout) == 1
    finally:
        with suppress(OSError):
            group.rmdir()


@pytest.mark.parametrize(
    ("opened", "open_folder"),
    [(AutoModel, open_encoder), (AutoConfig, open_finetuned), (AutoTokenizer, load_tokenizer)],
)
@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 512 bytes"),
    ],
)
def test_a_limit_that_is_reached_is_not_blamed_on_a_folder(
    opened, open_folder, error, tmp_path, monkeypatch
):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(opened, "from_pretrained", fail)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(type(error)) as raised:
        open_folder(str(tmp_path))
    assert raised.value is error
