"""What several tests share: tokens without files, tiny recipes, a disk that is soon full."""

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pytest
import torch
from command_line import electra_environment
from flash_kernels import flash_kernels_on_cpu
from forked import ENVIRONMENT
from in_process import electra  # noqa: F401
from skips import pytest_runtest_makereport  # noqa: F401
from small_tokenizer import theirs, tokenizer_folder, trained  # noqa: F401
from whole_runs import finished, prepared, run_copy  # noqa: F401

from electra_cli.batch import Batch
from electra_cli.config import PretrainConfig
from electra_cli.data.batches import TokenRoles, WindowReader
from electra_cli.model.objectives.objective import Judgements, Objective, StepCounts
from electra_cli.training.device import Compute
from electra_cli.training.trainer import Trainer

# What commands remember of the tests' data is in a folder of its own; other caches stay in place.
for name, folder in (("HF_HOME", "huggingface"), ("MPLCONFIGDIR", "matplotlib")):
    os.environ.setdefault(name, str(Path.home() / ".cache" / folder))
os.environ["XDG_CACHE_HOME"] = str(Path(tempfile.gettempdir()) / "electra-tests-cache")

# Tiny shapes run fastest on one thread, and two test processes do not fight for two cores.
torch.set_num_threads(1)


class MemoryTokens:
    """A split that lies in memory: the interface of TokenShards, in obvious code."""

    def __init__(self, documents: list[np.ndarray]) -> None:
        self.offsets = np.cumsum([0] + [len(document) for document in documents])
        self.tokens = np.concatenate(documents).astype(np.int64)

    def gather(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        parts = [self.tokens[s : s + n] for s, n in zip(starts, lengths, strict=True)]
        return np.concatenate(parts)


def random_documents(count: int, longest: int, vocab_size: int, seed: int) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    return [draw.integers(5, vocab_size, size=draw.integers(4, longest + 1)) for _ in range(count)]


VOCAB_SIZE = 200
# 0 [PAD], 1 [UNK], 2 [CLS], 3 [SEP], 4 [MASK]; a third of the pieces go on with a word.
TOKEN_ROLES = TokenRoles(cls_id=2, sep_id=3, mask_id=4, begins_word=np.arange(VOCAB_SIZE) % 3 != 0)


def tiny_config(**sections: dict[str, object]) -> PretrainConfig:
    """A recipe small enough for a test; keywords override single options of its sections."""
    base: dict[str, dict[str, object]] = {
        "data": {"max_seq_length": 32},
        "model": {
            "num_hidden_layers": 2,
            "hidden_size": 32,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "embedding_size": 24,
            "max_position_embeddings": 32,
            "generator_width": 0.5,
        },
        "objective": {},
        "optim": {"learning_rate": 1e-3, "num_warmup_steps": 2},
        "run": {"num_steps": 6, "batch_size": 8, "log_every": 1, "eval_every": 3, "save_every": 2},
    }
    for section, options in sections.items():
        base[section] = {**base[section], **options}
    return PretrainConfig.model_validate(base)


def tiny_reader(config: PretrainConfig, seed: int = 0) -> WindowReader:
    tokens = MemoryTokens(random_documents(40, 120, VOCAB_SIZE, seed))
    return WindowReader(tokens, TOKEN_ROLES, config.data, config.objective.mask_fraction, seed)


CPU = Compute(torch.device("cpu"), "fp32", has_flash=False)


def take_steps(trainer: Trainer, batches: Iterable[Batch], until: int) -> Iterator[int]:
    """Train until so many steps are completed; yields the number after each."""
    source = iter(batches)
    while trainer.step < until:
        trainer.train_step(source)
        yield trainer.step


class Counted(dict[str, torch.Tensor]):
    """What an objective counted, by attribute; 0 where it does not count that."""

    def __getattr__(self, name: str) -> torch.Tensor:
        return self.get(name, torch.zeros(()))


class Output(NamedTuple):
    """All of an objective's losses on a batch as one."""

    loss: torch.Tensor
    sums: Counted
    judgements: Judgements | None


def run_objective(model: Objective, part: Batch, whole: Batch | None = None) -> Output:
    """The losses of a micro-batch of `whole`, added up in one graph, and what was counted."""
    whole = whole or part
    parts = list(model.losses(part, StepCounts(whole.num_masked, whole.num_tokens)))
    sums = Counted({name: value for each in parts for name, value in each.sums.items()})
    return Output(sum(each.loss for each in parts), sums, parts[-1].judgements)


@pytest.fixture
def tiny_disk(tmp_path) -> Iterator[Path]:
    """An empty file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs the right to mount a tmpfs: {error}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def cpu_kernels() -> Iterator[None]:
    """torch's flash attention operator runs on the CPU."""
    with flash_kernels_on_cpu():
        yield


@pytest.fixture(scope="session")
def gpu_steps() -> dict[str, Any]:
    """What tests/fake_cuda saw of train steps on a CUDA device that is not there, by case."""
    if torch.version.cuda is not None:
        pytest.skip("needs a torch without CUDA, which a fake device can be put under")
    if not (shutil.which("g++") or shutil.which("c++")):
        pytest.skip("needs a C++ compiler")
    script = Path(__file__).parent / "fake_cuda" / "steps.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """What a command in this process sets for itself ends with the test (forked.py compares)."""
    with patch.dict(os.environ):
        return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first, then the longest: no core is left alone with one at the end.

    By now every library is loaded that sets variables as it loads.
    """
    ENVIRONMENT.update(electra_environment())
    slow = {item: item.get_closest_marker("slow") for item in items}
    items.sort(key=lambda item: -slow[item].kwargs.get("seconds", 0) if slow[item] else -math.inf)
