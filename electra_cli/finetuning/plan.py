"""The plan of a fine-tune: what is learned from what, what is cut, how long it takes."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from electra_cli import console
from electra_cli.finetuning.examples import count_classes
from electra_cli.finetuning.inputs import SHORTEN_QUESTIONS, InputCounts
from electra_cli.finetuning.labelled import TRAIN
from electra_cli.finetuning.session import FinetuneSession, Inputs, distinct
from electra_cli.model.encoders import describe
from electra_cli.model.finetune_model import count_flops_of
from electra_cli.runs.plan import matrix_flops_per_second

# Packed steps of small inputs reach about this share of the rate of bare matrix products.
_USUAL_UTILISATION = 0.4
_SHOWN_CLASSES = 6
_FEW_SCORED = 50  # examples; below, an interval is wider than most differences


@dataclass(frozen=True)
class EncoderPlan:
    """One encoder's column of the plan."""

    name: str
    parameters: int
    learning_rate: float
    layer_decay: float
    inputs: int  # windows of one epoch
    longest: int  # tokens
    max_seq_length: int
    cut_fraction: float  # of all tokens
    epochs: float
    num_steps: int  # of one fine-tune
    num_finetunes: int  # seeds, and twins that no encoder before it shares
    seconds: float  # of all of them


@dataclass(frozen=True)
class FinetunePlan:
    """What `electra finetune --dry-run` shows, and the object of its `--json`."""

    task: str
    examples: dict[str, int]  # by split
    classes: dict[str, int] | None  # training examples of each class
    encoders: tuple[EncoderPlan, ...]
    num_processes: int  # that share the fine-tunes


def make_plan(session: FinetuneSession, num_processes: int) -> FinetunePlan:
    """What is learned from what, and how long each encoder takes."""
    data = session.data
    classes = None
    if data.task.name in ("classify", "multilabel"):
        counts = count_classes(data.splits[TRAIN])
        classes = {name: counts[name] for name in data.task.label_names}
    jobs = Counter(id(job.inputs) for job in distinct(session.jobs))
    rate = matrix_flops_per_second(session.compute)
    return FinetunePlan(
        task=data.task.name,
        examples={name: len(split) for name, split in data.splits.items()},
        classes=classes,
        encoders=tuple(_plan_of(each, rate, jobs[id(each)]) for each in _inputs(session)),
        num_processes=num_processes,
    )


def show_plan(plan: FinetunePlan) -> None:
    """What is learned from, then each encoder in a column of its own."""
    rows = [("task", plan.task)]
    rows += [(f"{name} examples", f"{count:,}") for name, count in plan.examples.items()]
    if plan.classes is not None:
        shown = [f"{name} {count:,}" for name, count in list(plan.classes.items())[:_SHOWN_CLASSES]]
        rest = len(plan.classes) - len(shown)
        rows.append(("classes", ", ".join(shown) + (f" and {rest} more" if rest else "")))
    if plan.num_processes > 1:
        rows.append(("processes", f"{plan.num_processes} share them; times are those of one"))
    console.table("plan", ("", ""), rows)
    columns = [_cells_of(encoder) for encoder in plan.encoders]
    table = [(name, *(column[name] for column in columns)) for name in columns[0]]
    console.table("", ("", *(encoder.name for encoder in plan.encoders)), table)


def _inputs(session: FinetuneSession) -> Iterable[Inputs]:
    return {job.inputs.encoder.label: job.inputs for job in session.jobs}.values()


def _plan_of(inputs: Inputs, rate: float, num_finetunes: int) -> EncoderPlan:
    counts, recipe = inputs.counts[TRAIN], inputs.recipe
    return EncoderPlan(
        name=inputs.encoder.label,
        parameters=int(describe(inputs.encoder.weights)["parameters"]),
        learning_rate=recipe.learning_rate,
        layer_decay=recipe.layer_decay,
        inputs=counts.windows,
        longest=counts.longest,
        max_seq_length=recipe.max_seq_length,
        cut_fraction=counts.cut_tokens / max(1, counts.tokens),
        epochs=recipe.epochs,
        num_steps=inputs.num_steps,
        num_finetunes=num_finetunes,
        seconds=num_finetunes * _training_flops(inputs) / (rate * _USUAL_UTILISATION),
    )


def _cells_of(plan: EncoderPlan) -> dict[str, str]:
    """What the table says of one encoder, by row."""
    return {
        "parameters": f"{plan.parameters / 1e6:,.2f}M",
        "learning rate, layer decay": f"{plan.learning_rate:g}, {plan.layer_decay:g}",
        "inputs": f"{plan.inputs:,}",
        "longest": f"{plan.longest} of {plan.max_seq_length} tokens",
        "tokens cut": f"{plan.cut_fraction:.1%}",
        "epochs, steps": f"{plan.epochs:g}, {plan.num_steps:,}",
        "fine-tunes": f"{plan.num_finetunes}",
        "time": f"about {console.format_duration(plan.seconds)}",
    }


def _training_flops(inputs: Inputs) -> float:
    flops = count_flops_of(inputs.encoder.weights)
    windows = inputs.windows[TRAIN]
    lengths = [len(window.ids) for window in windows]
    one_epoch = flops.count(sum(lengths), 0, sum(length**2 for length in lengths))
    return one_epoch * inputs.recipe.epochs


def warnings_of(session: FinetuneSession) -> list[tuple[str, str]]:
    """What a user should know before the hours are spent: (problem, hint)."""
    data = session.data
    found = list(data.warnings)
    for name in data.scored:
        is_scored = data.splits[name][0].target is not None
        if is_scored and len(data.splits[name]) < _FEW_SCORED:
            problem = f"{name} has {len(data.splits[name])} examples: scores will be uncertain"
            found.append((problem, "label more of them"))
    for each in _inputs(session):
        encoder = each.encoder
        for split, counts in each.counts.items():
            kind = "training" if split == TRAIN else split
            if counts.cut_tokens:
                said = counts.describe_cut(f"{counts.examples:,} {kind} examples")
                found.append((f"{encoder.label}: {said}", _how_to_cut_less(each, counts)))
            if counts.beyond:
                problem = (
                    f"{encoder.label}: {counts.beyond:,} of {counts.windows:,} {kind} inputs are "
                    f"longer than the windows of {encoder.window} tokens that it was pre-trained on"
                )
                hint = (
                    f"--max-seq-length {encoder.window} reads them in several windows, or "
                    "pre-train with longer ones (data.max_seq_length)"
                )
                found.append((problem, hint))
        if encoder.has_one_segment and any(each.windows[TRAIN][0].segments):
            found.append(
                (
                    f"{encoder.label} never saw a second segment (single_segment_fraction 1)",
                    "expect less of it on pairs",
                )
            )
    return found


def _how_to_cut_less(inputs: Inputs, counts: InputCounts) -> str:
    longest = inputs.encoder.weights.max_length
    if counts.uncut_length <= longest:
        return f"--max-seq-length {counts.uncut_length:.0f} cuts nothing"
    if math.isinf(counts.uncut_length):
        return SHORTEN_QUESTIONS
    if inputs.recipe.max_seq_length < longest:
        return f"--max-seq-length {longest}, all that {inputs.encoder.label} reads, cuts less"
    return f"{inputs.encoder.label} reads no longer windows: shorten the texts"
