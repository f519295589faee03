"""`electra predict`: what a fine-tuned model answers, or how a discriminator judges texts."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electra_cli import console
from electra_cli.disk import write_bytes_atomically
from electra_cli.errors import RunError
from electra_cli.finetuning.columns import find_columns
from electra_cli.finetuning.inputs import SHORTEN_QUESTIONS
from electra_cli.finetuning.judging import judge_table
from electra_cli.finetuning.opening import compute_of
from electra_cli.finetuning.predicting import Model, open_model, predict
from electra_cli.finetuning.prediction_files import csv_text, json_lines, prediction_table
from electra_cli.finetuning.rows import Table, read_table
from electra_cli.finetuning.settings import UNREAD_COLUMNS, FinetuneConfig
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
        console.result(csv_text(columns, rows).removesuffix("\n"))
        return
    as_text = csv_text if options.out.suffix == ".csv" else json_lines
    write_bytes_atomically(options.out, as_text(columns, rows).encode())
    console.result(options.out)


def _answer(
    model: Model, table: Table, options: PredictOptions, compute: Compute
) -> tuple[list[str], list[list[Any]]]:
    task = task_of_model(model.kind, model.network.config)
    for name, reason in UNREAD_COLUMNS.get(task.name, {}).items():
        if getattr(options, name, None) is not None:
            option = f"--{name.replace('_', '-')}"
            raise RunError(f"{option} does nothing: {reason}", hint=f"leave {option} out")
    config = FinetuneConfig(
        task=task.name, text=options.text, text_pair=options.text_pair, id=options.id
    )
    columns = find_columns(table, config, needs_label=False)
    examples = [task.example(row, columns.without_label(), n) for n, row in enumerate(table.rows)]
    predictions, counts = predict(model, task, examples, compute)
    if counts.cut_tokens:
        console.warn(
            counts.describe_cut(f"{len(examples):,} examples"),
            SHORTEN_QUESTIONS
            if math.isinf(counts.uncut_length)
            else f"shorten them, or fine-tune with --max-seq-length {counts.uncut_length:.0f}",
        )
    return prediction_table(examples, predictions)
