"""`electra predict`: what a fine-tuned model answers, or how a discriminator judges texts."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electra_cli import console
from electra_cli.disk import write_bytes_atomically
from electra_cli.errors import RunError
from electra_cli.finetuning.columns import find_columns
from electra_cli.finetuning.judging import judge_table
from electra_cli.finetuning.opening import compute_of
from electra_cli.finetuning.predicting import Model, open_model, predict
from electra_cli.finetuning.prediction_files import prediction_table
from electra_cli.finetuning.rows import Table, read_table
from electra_cli.finetuning.settings import FinetuneConfig
from electra_cli.finetuning.tasks.registry import task_of_model
from electra_cli.training.device import Compute

_ENDINGS = (".csv", ".jsonl")


@dataclass(frozen=True)
class PredictOptions:
    """What `electra predict` was asked for."""

    model: str
    file: str
    out: Path | None
    text: str | None
    text_pair: str | None
    id: str | None
    device: str


def run(options: PredictOptions) -> None:
    """Write a row per example, to a file or to stdout."""
    if options.out is not None and options.out.suffix not in _ENDINGS:
        raise RunError(
            f"{options.out} has an unknown ending", hint=f"usable are {' '.join(_ENDINGS)}"
        )
    if options.out is not None and options.out.exists():
        raise RunError(f"{options.out} is there already", hint="choose another --out")
    compute = compute_of(options.device, "auto")
    model = open_model(options.model, compute)
    table = read_table(options.file, plain_text=model.judges_tokens or model.kind == "sequence")
    if model.judges_tokens:
        if options.text_pair is not None:
            raise RunError(
                "--text-pair does nothing: a discriminator judges one text at a time",
                hint="leave --text-pair out",
            )
        columns, rows = judge_table(model, table, options.text, options.id, compute)
    else:
        columns, rows = _answer(model, table, options, compute)
    if options.out is None:
        console.result(_as_csv(columns, rows).removesuffix("\n"))
        return
    text = _as_csv(columns, rows) if options.out.suffix == ".csv" else _as_jsonl(columns, rows)
    write_bytes_atomically(options.out, text.encode())
    console.result(options.out)


def _answer(
    model: Model, table: Table, options: PredictOptions, compute: Compute
) -> tuple[list[str], list[list[Any]]]:
    task = task_of_model(model.kind, model.network.config)
    config = FinetuneConfig(
        task=task.name, text=options.text, text_pair=options.text_pair, id=options.id
    )
    columns = find_columns(table, config, needs_label=False)
    examples = [task.example(row, columns.without_label(), n) for n, row in enumerate(table.rows)]
    predictions, counts = predict(model, task, examples, compute)
    if counts.cut_tokens:
        console.warn(
            f"{counts.cut_examples:,} of {len(examples):,} texts do not fit into windows of "
            f"{model.max_seq_length} tokens; {counts.cut_tokens / counts.tokens:.1%} of all "
            "tokens were not read",
            "cut the texts into parts, or fine-tune with a larger --max-seq-length",
        )
    return prediction_table(examples, predictions)


def _as_csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([" ".join(map(str, c)) if isinstance(c, list) else c for c in row])
    return text.getvalue()


def _as_jsonl(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    objects = (dict(zip(columns, row, strict=True)) for row in rows)
    return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in objects)
