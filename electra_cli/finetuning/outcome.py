"""What a fine-tune leaves behind: the exported model, the report, every prediction as a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from electra_cli import console
from electra_cli.disk import write_bytes_atomically
from electra_cli.finetuning import glue
from electra_cli.finetuning.examples import Example, show_target
from electra_cli.finetuning.inputs import pack
from electra_cli.finetuning.labelled import TRAIN
from electra_cli.finetuning.prediction_files import write_predictions
from electra_cli.finetuning.predictions import Predictions
from electra_cli.finetuning.report import write_report
from electra_cli.finetuning.results import Examples, Judged, Results, Tuned
from electra_cli.finetuning.scores import GLUE_METRICS, default_metrics
from electra_cli.finetuning.session import FinetuneSession, Inputs, Job, load_predictions
from electra_cli.model.export import export_finetuned
from electra_cli.model.heads import HeadKind

_SAMPLE_WINDOWS = 4  # on which an exported model is compared with the one in memory
MODEL_FOLDER = "model"


# By the kind of head: the hub's word for the task, and how to use the model in its folder.
_USES: dict[HeadKind, tuple[str, str]] = {
    "sequence": (
        "text-classification",
        """```python
from transformers import pipeline

answer = pipeline("text-classification", ".")  # the folder of this file
print(answer("A text.", truncation=True))
```""",
    ),
    "token": (
        "token-classification",
        """```python
from transformers import pipeline

answer = pipeline("token-classification", ".")  # the folder of this file
print(answer("A text."))
```""",
    ),
    "span": (  # transformers 5 has no pipeline for it
        "question-answering",
        """```python
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

folder = "."  # that of this file
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForQuestionAnswering.from_pretrained(folder)
inputs = tokenizer("A question?", "A text.", truncation="only_second", return_tensors="pt")
output = model(**inputs)
start, end = output.start_logits[0].argmax(), output.end_logits[0].argmax()
print(tokenizer.decode(inputs["input_ids"][0, start : end + 1]))
```""",
    ),
}


def export_model(session: FinetuneSession, job: Job, network: object) -> None:
    """The model of the first seed, as transformers opens it; never the best of several."""
    task, inputs = session.data.task, job.inputs
    windows, targets = inputs.windows[TRAIN][:_SAMPLE_WINDOWS], inputs.targets[:_SAMPLE_WINDOWS]
    export_finetuned(
        network,
        task.kind,
        session.folder_of(inputs.encoder) / MODEL_FOLDER,
        inputs.encoder.tokenizer,
        _card(session, job),
        inputs.encoder.weights.max_length,
        pack(windows, targets),
        task.scale,
        task.shift,
    )


def _card(session: FinetuneSession, job: Job) -> str:
    task, inputs = session.data.task, job.inputs
    tag, use = _USES[task.kind]
    return f"""---
library_name: transformers
pipeline_tag: {tag}
tags: [electra]
---
# {inputs.encoder.label}, fine-tuned: {task.name}

{use}

Fine-tuned with electra-cli on {len(session.data.splits[TRAIN]):,} examples:
{inputs.recipe.epochs:g} epochs, {inputs.num_steps:,} steps in all, seed {job.seed}, at most
{inputs.recipe.max_seq_length} tokens, peak rate {inputs.recipe.learning_rate:g}, layer decay
{inputs.recipe.layer_decay:g}. How it scores stands in report.html beside it.
"""


def write_results(session: FinetuneSession) -> dict[str, Any]:
    """The predictions of every example, and the report -> what it says."""
    judged = predictions_of(session)
    encoders = {job.inputs.encoder.label: job.inputs.encoder for job in session.jobs}
    for each in judged:
        folder = session.folder_of(encoders[each.encoder.name])
        folder.mkdir(exist_ok=True)
        for split, predictions in each.encoder.predictions.items():
            examples = session.data.splits[split]
            write_predictions(folder, split, examples, each.encoder.seeds, predictions)
            if session.config.task.startswith("glue/"):
                _write_submission(session, folder, split, predictions[0])
    return write_report(session.root.root, results_of(session, judged))


def _write_submission(
    session: FinetuneSession, folder: Path, split: str, predictions: Predictions
) -> None:
    """What the benchmark's server takes: the first seed's answers."""
    submission = glue.submission_of(session.config.task, split, predictions)
    if submission is not None:
        name, lines = submission
        write_bytes_atomically(folder / name, ("\n".join(lines) + "\n").encode())


def predictions_of(session: FinetuneSession) -> list[Judged]:
    """The predictions of all jobs: each encoder with its twin."""
    found: dict[tuple[str, bool], dict[int, dict[str, Predictions]]] = {}
    for job in session.jobs:
        key = (job.inputs.encoder.label, job.is_trained)
        found.setdefault(key, {})[job.seed] = load_predictions(session, job)
    encoders = {job.inputs.encoder.label: job.inputs.encoder for job in session.jobs}

    def tuned(label: str, is_trained: bool) -> Tuned | None:
        by_seed = found.get((label, is_trained))
        if by_seed is None:
            return None
        return Tuned(
            name=label if is_trained else f"{label} (random weights)",
            seeds=tuple(by_seed),
            predictions={
                split: tuple(of_seed[split] for of_seed in by_seed.values())
                for split in session.data.scored
            },
            pretraining_flops=encoders[label].pretraining_flops if is_trained else 0.0,
        )

    judged = []
    for label in encoders:
        encoder = tuned(label, True)
        assert encoder is not None
        judged.append(Judged(encoder, tuned(label, False)))
    return judged


def labelled_splits(session: FinetuneSession) -> list[str]:
    """The splits that can be scored."""
    splits = session.data.splits
    return [n for n in session.data.scored if all(e.target is not None for e in splits[n])]


def metrics_of(session: FinetuneSession, predictions: Predictions) -> tuple[str, ...]:
    """GLUE's for its tasks, else those of the kind of predictions; the first is the headline."""
    if session.config.task.startswith("glue/"):
        return GLUE_METRICS[glue.task_of(session.config.task)[0]]
    return default_metrics(predictions)


def results_of(session: FinetuneSession, judged: Sequence[Judged]) -> Results:
    """What the report is made from; only splits with labels."""
    data, splits = session.data, labelled_splits(session)

    def scored_only(tuned: Tuned | None) -> Tuned | None:
        if tuned is None:
            return None
        predictions = {split: tuned.predictions[split] for split in splits}
        return Tuned(tuned.name, tuned.seeds, predictions, tuned.pretraining_flops)

    some = judged[0].encoder.predictions[splits[0]][0]
    kept = [Judged(e, scored_only(j.random)) for j in judged if (e := scored_only(j.encoder))]
    return Results(
        title=session.root.root.name,
        task=data.task.name,
        metrics=metrics_of(session, some),
        train=_examples(data.splits[TRAIN]),
        splits={split: _examples(data.splits[split]) for split in splits},
        judged=tuple(kept),
        notes={**data.notes, **input_notes(session.jobs)},
        settings=_settings(session),
    )


def _examples(examples: Sequence[Example]) -> Examples:
    texts = tuple(
        example.words or ((example.text,) if example.pair is None else example.content)
        for example in examples
    )
    return Examples(
        ids=tuple(example.id for example in examples),
        texts=texts,
        labels=tuple(show_target(example) for example in examples),
    )


def input_notes(jobs: Sequence[Job]) -> dict[str, int]:
    """What was split or cut, per split; of several encoders each under its name."""
    inputs = {job.inputs.encoder.label: job.inputs for job in jobs}
    notes: dict[str, int] = {}
    for label, each in inputs.items():
        of = f" ({label})" if len(inputs) > 1 else ""
        for split, counts in each.counts.items():
            for name, count in (
                (f"{split} examples read in several windows", counts.split_examples),
                (f"{split} {counts.cut_parts} cut", counts.cut_examples),
                (f"{split} tokens cut", counts.cut_tokens),
                (f"{split} words without tokens", counts.words_without_tokens),
                (f"{split} inputs longer than pre-training's windows", counts.beyond),
            ):
                notes |= {f"{name}{of}": count} if count else {}
    return notes


def _settings(session: FinetuneSession) -> dict[str, str]:
    config = _given_settings(session)
    inputs: dict[str, Inputs] = {job.inputs.encoder.label: job.inputs for job in session.jobs}
    for label, each in inputs.items():
        recipe = each.recipe
        config[f"encoder {label}"] = (  # which may be called as an option is
            f"{recipe.epochs:g} epochs, {each.num_steps:,} steps, rate {recipe.learning_rate:g}, "
            f"layer decay {recipe.layer_decay:g}, at most {recipe.max_seq_length} tokens"
        )
    return config


def _given_settings(session: FinetuneSession) -> dict[str, str]:
    """The settings that differ from their defaults, as text."""
    given = session.config.model_dump(mode="json", exclude_defaults=True)
    return {name: console.format_value(value) for name, value in given.items()}
