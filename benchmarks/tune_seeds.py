"""Is a search's best trial better than its preset? Both are trained again with new seeds.

    python -m benchmarks.tune_seeds tune/NAME [--seeds 3]

A trial is one run with one seed, and the best of many is partly luck. So the preset and the best
trial are trained again, each for its own number of steps (the same training FLOPs), with the next
seeds after the search's own, and scored on the study's yardstick.
"""

import argparse
import csv
import statistics
import tempfile
from pathlib import Path

from electra_cli import console
from electra_cli.data.prepared import open_data
from electra_cli.disk import sha256_of
from electra_cli.model.objectives.electra import ElectraObjective
from electra_cli.presets import load_config, with_options
from electra_cli.run_directory import RunDirectory
from electra_cli.runs import loop
from electra_cli.runs.session import open_session
from electra_cli.training.device import select_compute
from electra_cli.tuning.yardstick import DiscriminatorScore, load_corruption, score_discriminator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    preset, best = preset_and_best(chosen.folder)
    rows = []
    for name, number in (("preset", preset), (f"trial {best}", best)):
        scores = [train(chosen.folder, number, extra) for extra in range(1, chosen.seeds + 1)]
        for field in ("rtd_loss", "rtd_content_auc"):
            values = [getattr(score, field) for score in scores]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            figures = [f"{value:.4f}" for value in (statistics.mean(values), spread, *values)]
            rows.append([f"{name}, {field}", *figures])
    seeds = [f"seed +{extra}" for extra in range(1, chosen.seeds + 1)]
    console.table(f"{chosen.folder} on its yardstick", ["", "mean", "spread", *seeds], rows)


def preset_and_best(folder: Path) -> tuple[int, int]:
    """The trial that is the preset unchanged, and the one that best.yaml was made from."""
    with (folder / "trials.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["state"] == "complete"]
    (preset,) = (int(row["trial"]) for row in rows if row["is_preset"] == "True")
    best = (folder / "best.yaml").read_text().split()[2]  # `# Trial N of study ...`
    return preset, int(best)


def train(folder: Path, number: int, extra_seed: int) -> DiscriminatorScore:
    """A trial's settings with another seed, from scratch -> its score."""
    config = load_config(RunDirectory(folder / f"trial-{number:04d}").config)
    config = with_options(config, {"run.seed": config.run.seed + extra_seed}, "settings")
    compute = select_compute(config)
    assert config.data.directory is not None
    assert config.run.micro_batch_size is not None
    data = open_data(config.data.directory)
    path = folder / "yardstick.safetensors"
    yardstick = load_corruption(path, sha256_of(path), "here")
    with tempfile.TemporaryDirectory() as root, console.muted():
        # No evaluation: the yardstick alone counts.
        session = open_session(RunDirectory(Path(root)), config, data, compute, evaluation=[])
        try:
            loop.train(session)
        finally:
            session.close()
        assert isinstance(session.trainer.model, ElectraObjective)
        return score_discriminator(
            session.trainer.model, yardstick, compute, config.run.micro_batch_size
        )


if __name__ == "__main__":
    main()
