"""What a fine-tune says on the console at its end: the report's tables, and its sentences."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from electra_cli import console
from electra_cli.disk import as_argument
from electra_cli.finetuning.report import PAGE_NAME
from electra_cli.finetuning.words import compared, failures, findings, metric_title, show_score


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
        for sentence in failures(judged):
            console.warn(
                sentence.removesuffix("."), "a lower --learning-rate or more --epochs may help"
            )
    console.hint(f"open {as_argument(folder / PAGE_NAME)}")
