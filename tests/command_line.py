"""The real console script, a small corpus for it, and options that make any preset small."""

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from forked import HEAVY, Forked, can_fork, run_forked

TIMEOUT_SECONDS = 240

WORDS = (
    "the of a to and in is for that it on as are with be this by from or an at not have which "
    "function value object returns list name file module class string number type used method "
    "given other when set data default between first same result each time called only new"
).split()

# Options that make a run of a second or so out of any preset.
TINY = [
    f"--set={assignment}"
    for assignment in (
        "data.max_seq_length=32",
        "model.num_hidden_layers=2",
        "model.hidden_size=32",
        "model.num_attention_heads=2",
        "model.intermediate_size=64",
        "model.embedding_size=24",
        "model.max_position_embeddings=32",
        "model.generator_width=1/2",
        "model.tie_encoders=false",
        "optim.num_warmup_steps=2",
        "run.batch_size=8",
        "run.num_steps=12",
        "run.log_every=2",
        "run.eval_every=4",
        "run.save_every=5",
        "run.num_eval_windows=20",
    )
]


def write_preset(path: Path, more: str = "", **changes: object) -> Path:
    """TINY as a preset file, with other values by `section__key`, and more YAML at its end."""
    values = dict(option.removeprefix("--set=").split("=") for option in TINY)
    values |= {name.replace("__", "."): str(value) for name, value in changes.items()}
    sections: dict[str, list[str]] = {}
    for name, value in values.items():
        section, key = name.split(".")
        sections.setdefault(section, []).append(f"  {key}: {value}\n")
    text = "".join(f"{name}:\n{''.join(lines)}" for name, lines in sections.items())
    path.write_text(text + more)
    return path


def write_corpus(path: Path, num_documents: int, seed: int = 0) -> Path:
    draw = random.Random(seed)
    documents = []
    for _ in range(num_documents):
        lines = [
            " ".join(draw.choices(WORDS, k=draw.randint(4, 20))) + "."
            for _ in range(draw.randint(1, 6))
        ]
        documents.append("\n".join(lines))
    path.write_text("\n\n".join(documents) + "\n")
    return path


def electra_command(*arguments: object) -> list[str]:
    return [str(Path(sys.executable).with_name("electra")), *map(str, arguments)]


def electra_environment() -> dict[str, str]:
    """Offline unless the test says otherwise, and one thread: equal sums in every process."""
    return {"HF_HUB_OFFLINE": "1", **os.environ, "OMP_NUM_THREADS": "1"}


def run_electra(
    folder: Path, *arguments: object, limit: Callable[[], object] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in `folder`; `limit` is called in its process before it starts.

    A command that loads torch is forked from a process that has loaded it (forked.py): to load it
    is most of what a short command costs.
    """
    environment = electra_environment()
    if limit is None and arguments[0] in HEAVY and can_fork(environment):
        return run_forked(folder, list(map(str, arguments)), environment, TIMEOUT_SECONDS)
    return subprocess.run(
        electra_command(*arguments),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
        preexec_fn=limit,
    )


def start_electra(folder: Path, *arguments: object) -> subprocess.Popen[str] | Forked:
    """Start a command in `folder`, as run_electra does."""
    environment = electra_environment()
    if arguments[0] in HEAVY and can_fork(environment):
        return Forked(folder, list(map(str, arguments)), environment)
    return subprocess.Popen(
        electra_command(*arguments),
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
