"""The report of a fine-tuning: report.json, the same as a page, and a table of all mistakes."""

import csv
import io
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from electra_cli.disk import write_bytes_atomically
from electra_cli.finetuning.calibration import Calibration
from electra_cli.finetuning.intervals import Estimate
from electra_cli.finetuning.judgement import judge
from electra_cli.finetuning.mistakes import SIZE_NAMES, find_mistakes
from electra_cli.finetuning.report_page import page_of
from electra_cli.finetuning.results import Results

REPORT_NAME = "report.json"
PAGE_NAME = "report.html"


def write_report(folder: Path, results: Results) -> dict[str, Any]:
    """Write the report into an existing folder -> what it says; an older report is replaced."""
    report = judge(results)
    text = json.dumps(_as_json(report), indent=2, allow_nan=False, ensure_ascii=False)
    write_bytes_atomically(folder / REPORT_NAME, f"{text}\n".encode(errors="replace"))
    write_bytes_atomically(folder / PAGE_NAME, page_of(report).encode(errors="replace"))
    for split in results.splits:
        table = _mistakes_csv(results, split).encode(errors="replace")
        write_bytes_atomically(folder / f"errors-{split}.csv", table)
    return report


def _as_json(value: Any) -> Any:
    """JSON has no NaN: null stands for what has no value."""
    match value:
        case Estimate() | Calibration():
            return _as_json({k: v for k, v in asdict(value).items() if v is not None})
        case dict():
            return {key: _as_json(each) for key, each in value.items()}
        case list() | tuple():
            return [_as_json(each) for each in value]
        case float() if not math.isfinite(value):
            return None
    return value


def _mistakes_csv(results: Results, split: str) -> str:
    """All mistakes of all encoders, the most confident first."""
    examples, file = results.splits[split], io.StringIO()
    seeds = results.judged[0].encoder.predictions[split]
    writer = csv.writer(file, lineterminator="\n")
    size = SIZE_NAMES[type(seeds[0])]
    writer.writerow(["encoder", "id", "text", "label", "prediction", size, "seeds_wrong", "seeds"])
    for judged in results.judged:
        encoder = judged.encoder
        for each in find_mistakes(encoder.predictions[split]):
            answer = each.answer
            writer.writerow(
                [
                    encoder.name,
                    examples.ids[each.index],
                    " ".join(examples.texts[each.index]),
                    answer.label,
                    answer.prediction,
                    f"{answer.size:.6g}",
                    each.seeds_wrong,
                    len(encoder.seeds),
                ]
            )
    return file.getvalue()
