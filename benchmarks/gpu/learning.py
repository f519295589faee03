"""Does it learn: the real commands on prepared text, for as long as is left."""

import csv
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.gpu.fast import WAYS
from benchmarks.gpu.machine import Figures, Machine, Results

_RUN = "small"
# What starting, compiling, saving, exporting and drawing take besides the steps.
_OTHER_SECONDS = 60.0
_MINIMUM_STEPS = 100


def learn(machine: Machine, results: Results, data: Path | None, until: float) -> None:
    """Prepare, train, verify and plot in the folder of the results; `until` as time.time()."""
    folder = results.path.parent

    def electra(*arguments: object) -> str:
        """Run a command in the time that is left; its stderr. Raises what stopped it."""
        command = [sys.executable, "-m", "electra_cli", *map(str, arguments)]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False,
            timeout=max(5.0, until - time.time()),
        )  # fmt: skip
        if done.returncode != 0:
            last = done.stderr.strip().splitlines()[-2:]
            raise RuntimeError(f"electra {arguments[0]}: {' '.join(last)}")
        return done.stderr

    def prepare() -> Figures:
        vocabulary, text = (512, 200_000) if machine.is_tiny else (8192, 20_000_000)
        electra("prepare", "--out", "text", "--vocab-size", vocabulary, "--max-bytes", text)
        return {"text": "the documentation installed here"}

    def train() -> Figures:
        text = data.resolve() if data else folder / "text"
        settings = {"run.device": machine.device, **_settings(machine, results, until)}
        electra(
            "train", "--preset", "tiny" if machine.is_tiny else "small",
            "--data", text, "--run-name", _RUN,
            *(part for name, value in settings.items() for part in ("--set", f"{name}={value}")),
        )  # fmt: skip
        return _figures(folder / "runs" / _RUN)

    def verify() -> Figures:
        try:
            electra("resume", folder / "runs" / _RUN, "--verify")
        except RuntimeError as error:
            if machine.device.type == "cpu":
                raise
            # Gradients are added in no fixed order on a GPU (docs/using.md).
            return {"the last steps came out": f"differently: {error}"}
        return {"the last steps came out": "the same, bit for bit"}

    if data is None:
        results.take("learning", "electra prepare", prepare)
    results.take("learning", "electra train", train)
    results.take("learning", "electra resume --verify", verify)


def _settings(machine: Machine, results: Results, until: float) -> dict[str, object]:
    """As many steps as the measured rate of this card makes in the time that is left."""
    if machine.is_tiny:
        return {
            "run.num_steps": 4, "run.log_every": 2, "run.eval_every": 2, "run.save_every": 2,
            "run.batch_size": 4, "run.num_eval_windows": 4, "optim.num_warmup_steps": 1,
            "model.num_hidden_layers": 1,
        }  # fmt: skip
    found = {
        each["name"]: each["figures"]["tokens/s"]
        for each in results.all()
        if each["part"] == "fast, small" and "tokens/s" in each["figures"]
    }
    rates = {way: found[name] for way in WAYS if (name := f"{way}, dropout 0.1") in found}
    way = max(rates, key=lambda way: rates[way], default="eager")
    seconds = max(0.0, until - time.time() - _OTHER_SECONDS)
    # A fifth is for the steps that --verify repeats, and a margin.
    affordable = int(0.7 * seconds * rates.get(way, 0.0) / (128 * 128))
    steps = max(_MINIMUM_STEPS, affordable // 100 * 100)
    return {
        **WAYS[way],
        "run.num_steps": steps, "run.log_every": steps // 50, "run.eval_every": steps // 50 * 10,
        "run.save_every": max(1, steps // 5), "optim.num_warmup_steps": steps // 10,
    }  # fmt: skip


def _figures(run: Path) -> Figures:
    with (run / "training_log.csv").open() as file:
        rows = list(csv.DictReader(file))
    first, last = rows[0], rows[-1]
    names = ("loss", "mlm_loss", "rtd_loss", "rtd_recall", "tokens_per_second")
    figures: dict[str, float | str] = {"steps": float(last["step"])}
    for name in names:
        figures[name] = f"{float(first[name]):.3f} to {float(last[name]):.3f}"
    auc = last.get("validation_rtd_auc")
    figures["validation_rtd_auc"] = float(auc) if auc else "none"
    figures["kept"] = f"{run}: {', '.join(sorted(path.name for path in run.iterdir()))}"
    return figures
