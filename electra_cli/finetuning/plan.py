"""The plan of a fine-tune: what is learned from what, what is cut, how long it takes."""

from collections.abc import Iterable

from electra_cli import console
from electra_cli.finetuning.examples import count_classes
from electra_cli.finetuning.labelled import TRAIN
from electra_cli.finetuning.session import FinetuneSession, Inputs
from electra_cli.model.encoders import describe
from electra_cli.model.heads import count_flops_of
from electra_cli.runs.plan import matrix_flops_per_second

# Packed steps of small inputs reach about this share of the rate of bare matrix products.
_USUAL_UTILISATION = 0.4
_FEW_SCORED = 50  # examples; below, an interval is wider than most differences


def show_plan(session: FinetuneSession) -> None:
    """What is learned from, then each encoder in a column of its own."""
    data, config = session.data, session.config
    rows = [("task", data.task.name)]
    rows += [(f"{name} examples", f"{len(split):,}") for name, split in data.splits.items()]
    if data.task.name in ("classify", "multilabel"):
        counts = count_classes(data.splits[TRAIN])
        shown = [f"{name} {counts[name]:,}" for name in data.task.label_names[:6]]
        rest = len(data.task.label_names) - len(shown)
        rows.append(("classes", ", ".join(shown) + (f" and {rest} more" if rest else "")))
    console.table("plan", ("", ""), rows)
    num_jobs = len(config.seeds) * (2 if config.untrained_twin else 1)
    rate = matrix_flops_per_second(session.compute)
    columns = [_column(inputs, rate, num_jobs) for inputs in _inputs(session)]
    table = [(name, *(column[name] for column in columns)) for name in columns[0]]
    console.table("", ("", *(each.encoder.label for each in _inputs(session))), table)


def _inputs(session: FinetuneSession) -> Iterable[Inputs]:
    return {job.inputs.encoder.label: job.inputs for job in session.jobs}.values()


def _column(inputs: Inputs, rate: float, num_jobs: int) -> dict[str, str]:
    """What the table says of one encoder, by row."""
    size = describe(inputs.encoder.weights)
    counts, recipe = inputs.counts[TRAIN], inputs.recipe
    seconds = num_jobs * _training_flops(inputs) / (rate * _USUAL_UTILISATION)
    return {
        "parameters": f"{size['parameters'] / 1e6:,.2f}M",
        "learning rate, layer decay": f"{recipe.learning_rate:g}, {recipe.layer_decay:g}",
        "inputs": f"{counts.windows:,}",
        "longest": f"{counts.longest} of {recipe.max_seq_length} tokens",
        "tokens cut": f"{counts.cut_tokens / max(1, counts.tokens):.1%}",
        "epochs, steps": f"{recipe.epochs:g}, {inputs.num_steps:,}",
        "fine-tunes": f"{num_jobs}",
        "time": f"about {console.format_duration(seconds)}",
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
        encoder, recipe, counts = each.encoder, each.recipe, each.counts[TRAIN]
        if counts.cut_tokens:
            found.append(
                (
                    f"{encoder.label}: {counts.cut_examples:,} of {counts.examples:,} training "
                    f"examples are longer than {recipe.max_seq_length} tokens; "
                    f"{counts.cut_tokens / counts.tokens:.1%} of all tokens are cut",
                    "a larger --max-seq-length, up to the encoder's "
                    f"{encoder.weights.max_length} positions",
                )
            )
        if counts.beyond:
            found.append(
                (
                    f"{encoder.label}: {counts.beyond:,} of {counts.windows:,} inputs are longer "
                    f"than the windows of {encoder.window} tokens that it was pre-trained on",
                    f"--max-seq-length {encoder.window} cuts them, or pre-train with longer "
                    "windows (data.max_seq_length)",
                )
            )
        if encoder.has_one_segment and any(each.windows[TRAIN][0].segments):
            found.append(
                (
                    f"{encoder.label} never saw a second segment (single_segment_fraction 1)",
                    "expect less of it on pairs",
                )
            )
    return found
