"""What a fine-tune says on the console at its end: the report's tables, and its sentences."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from electra_cli import console
from electra_cli.disk import as_argument
from electra_cli.finetuning.intervals import Estimate
from electra_cli.finetuning.report import PAGE_NAME
from electra_cli.finetuning.words import (
    RANDOM_WEIGHTS,
    compare,
    metric_title,
    pretraining_gain,
    show_score,
)


def show_report(folder: Path, report: Mapping[str, Any]) -> None:
    """A table per split, then what pre-training gave, and which encoder is better."""
    metrics = report["metrics"]
    for split, judged in report["splits"].items():
        rows: list[tuple[str, Mapping[str, Estimate]]] = []
        for name, encoder in judged["encoders"].items():
            rows.append((name, encoder["scores"]))
            if encoder["random_weights"] is not None:
                rows.append((f"{name}, {RANDOM_WEIGHTS}", encoder["random_weights"]["scores"]))
        rows += judged["controls"].items()
        console.table(
            f"{split}: {judged['num_examples']:,} examples",
            ("", *map(metric_title, metrics)),
            [
                (name, *(show_score(each, scores[each]) for each in metrics))
                for name, scores in rows
            ],
        )
        for name, encoder in judged["encoders"].items():
            _show_encoder(metrics[0], name, encoder)
        for pair in judged["differences"]:
            difference = pair["scores"][metrics[0]]
            console.talk(compare(metrics[0], pair["of"], pair["minus"], difference))
    console.hint(f"open {as_argument(folder / PAGE_NAME)}")


def _show_encoder(metric: str, name: str, encoder: Mapping[str, Any]) -> None:
    """What pre-training gave it, and the seeds that failed."""
    gain = encoder["gains"].get(RANDOM_WEIGHTS)
    if gain is not None:
        console.talk(pretraining_gain(metric, name, gain[metric]))
    failed = encoder["failed_seeds"]
    if failed:
        reasons = "; ".join(f"seed {seed}: {reason}" for seed, reason in failed.items())
        console.warn(
            f"{len(failed)} of {len(encoder['seeds'])} seeds of {name} failed ({reasons})",
            "they are in the mean; a lower --learning-rate or more --epochs may help",
        )
