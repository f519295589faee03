"""report.json: every number of a fine-tuning, under documented keys."""

import json
import math
from pathlib import Path
from typing import Any

from electra_cli.disk import write_bytes_atomically
from electra_cli.finetuning.results import Results, Tuned
from electra_cli.finetuning.scores import score

REPORT_NAME = "report.json"


def write_report(folder: Path, results: Results) -> None:
    """Write the report of these results into an existing folder; an older report is replaced."""
    text = json.dumps(_without_nan(_report(results)), indent=2, allow_nan=False)
    write_bytes_atomically(folder / REPORT_NAME, f"{text}\n".encode())


def _report(results: Results) -> dict[str, Any]:
    return {
        "title": results.title,
        "task": results.task,
        "splits": {
            split: {
                each.encoder.name: _scores(each.encoder, split, results.metrics)
                for each in results.judged
            }
            for split in results.splits
        },
    }


def _scores(tuned: Tuned, split: str, metrics: tuple[str, ...]) -> dict[str, dict[str, float]]:
    of_split = zip(tuned.seeds, tuned.predictions[split], strict=True)
    return {f"seed {seed}": score(predictions, metrics) for seed, predictions in of_split}


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: null stands for a metric that has no value."""
    match value:
        case dict():
            return {key: _without_nan(each) for key, each in value.items()}
        case list() | tuple():
            return [_without_nan(each) for each in value]
        case float() if not math.isfinite(value):
            return None
    return value
