"""Make what a version leaves on disk: a data folder, a stopped run and a study.

    python tests/made_by_0.1.0/make.py CHECKOUT OUT

CHECKOUT is a checkout of that version, whose dependencies this Python has; OUT must not exist.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# A recipe of a second. It logs every 5 steps and saves every 10.
PRESET = """
data: {max_seq_length: 32}
model:
  num_hidden_layers: 1
  hidden_size: 16
  num_attention_heads: 2
  intermediate_size: 32
  embedding_size: 12
  max_position_embeddings: 32
  generator_width: 1/2
  hidden_dropout_prob: 0  # a later version draws other dropout masks
  attention_probs_dropout_prob: 0
optim: {num_warmup_steps: 4, learning_rate: 0.005}
run:
  batch_size: 8
  micro_batch_size: 4
  num_steps: 60
  log_every: 5
  eval_every: 10
  save_every: 10
  num_eval_windows: 20
  keep_checkpoints: 1
tune:
  optim.learning_rate: {low: 1.0e-3, high: 1.0e-2, log: true}
  objective.mask_fraction: [0.15, 0.25]
"""
TUNE = ("tune", "--preset=preset.yaml", "--data=data/words", "--steps=18", "--study=small")
TRAIN = ("train", "--preset=preset.yaml", "--data=data/words", "--run-name")


def make(checkout: Path, out: Path) -> None:
    out.mkdir(parents=True)
    (out / "preset.yaml").write_text(PRESET.lstrip())
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(checkout),
    }

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "electra_cli", *arguments]
        return subprocess.Popen(command, cwd=out, env=environment)

    def run(*arguments: str) -> None:
        if start(*arguments).wait():
            raise SystemExit(f"electra {' '.join(arguments)} failed")

    sys.path.insert(0, str(checkout / "tests"))
    from command_line import write_corpus

    with tempfile.TemporaryDirectory() as folder:
        corpus = write_corpus(Path(folder) / "corpus.txt", 150)
        sizes = ("--vocab-size=120", "--validation-fraction=0.1")
        run("prepare", str(corpus), "--out=data/words", *sizes)
    while not is_stopped_between_rows(out):
        shutil.rmtree(out / "runs", ignore_errors=True)
        process = start(*TRAIN, "stopped")
        log = out / "runs" / "stopped" / "training_log.csv"
        while process.poll() is None and not (log.exists() and log.read_text().count("\n") > 3):
            time.sleep(0.001)
        process.send_signal(signal.SIGUSR1)
        process.wait()
    forget_folder(out, out / "runs" / "stopped")
    run(*TRAIN, "whole")
    keep_expected(out)
    run(*TUNE, "--trials=3")
    shutil.copytree(out / "tune", out / "tune-of-3")
    run(*TUNE, "--trials=4")
    shutil.copy(out / "tune" / "small" / "trials.csv", out / "trials_of_4.csv")
    shutil.rmtree(out / "tune")
    (out / "tune-of-3").rename(out / "tune")
    # Large, or with the path of this folder in them; a study goes on without.
    (out / "tune" / "small" / "study.html").unlink()
    for trial in (out / "tune" / "small").glob("trial-*"):
        shutil.rmtree(trial / "checkpoints", ignore_errors=True)
        for name in ("config.yaml", "environment.json", "events.jsonl"):
            (trial / name).unlink()


def forget_folder(out: Path, run: Path) -> None:
    """Make a run's path to its data relative, in its settings and in its checkpoint."""
    (checkpoint,) = (run / "checkpoints").iterdir()
    for path in (run / "config.yaml", checkpoint / "state.json"):
        path.write_text(path.read_text().replace(str(out / "data"), "data"))
    (run / ".lock").unlink()
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    content = (checkpoint / "state.json").read_bytes()
    manifest["sha256"]["state.json"] = hashlib.sha256(content).hexdigest()
    del manifest["manifest_sha256"]
    rest = json.dumps(manifest, sort_keys=True).encode()
    manifest["manifest_sha256"] = hashlib.sha256(rest).hexdigest()
    (checkpoint / "manifest.json").write_text(json.dumps(manifest, indent=1))


def keep_expected(out: Path) -> None:
    """Of the run that was not stopped, what a resumed one must come to."""
    whole = out / "runs" / "whole"
    shutil.copy(whole / "training_log.csv", out / "expected_log.csv")
    shutil.copy(whole / "checkpoints/step-00000060/model.safetensors", out / "expected.safetensors")
    shutil.rmtree(whole)


def is_stopped_between_rows(out: Path) -> bool:
    """Whether the run was stopped at a step that neither logs nor saves by itself."""
    names = [path.name for path in (out / "runs" / "stopped" / "checkpoints").glob("step-*")]
    return bool(names) and int(names[-1].removeprefix("step-")) % 5 != 0


if __name__ == "__main__":
    make(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
