"""What a fine-tune says on the console at its end: the report's tables, and its sentences."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from electra_cli import console
from electra_cli.disk import as_argument
from electra_cli.finetuning.report import PAGE_NAME
from electra_cli.finetuning.words import compared, findings, metric_title, show_score


def show_report(folder: Path, report: Mapping[str, Any]) -> None:
    """A table per split, then what pre-training gave, which encoder is better, what failed."""
    metrics = report["metrics"]
    for split, judged in report["splits"].items():
        console.table(
            f"{split}: {judged['num_examples']:,} examples",
            ("", *map(metric_title, metrics)),
            [
                (name, *(show_score(each, scores[each]) for each in metrics))
                for name, scores in compared(judged)
            ],
        )
        for sentence in findings(metrics[0], judged):
            console.talk(sentence)
        for name, encoder in judged["encoders"].items():
            _warn_of_failures(name, encoder)
    console.hint(f"open {as_argument(folder / PAGE_NAME)}")


def _warn_of_failures(name: str, encoder: Mapping[str, Any]) -> None:
    failed = encoder["failed_seeds"]
    if failed:
        reasons = "; ".join(f"seed {seed}: {reason}" for seed, reason in failed.items())
        console.warn(
            f"{len(failed)} of {len(encoder['seeds'])} seeds of {name} failed ({reasons})",
            "they are in the mean; a lower --learning-rate or more --epochs may help",
        )
