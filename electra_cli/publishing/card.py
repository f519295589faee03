"""The page of a published model: what the run knows of it, as Markdown."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from electra_cli.disk import step_of_folder
from electra_cli.errors import UserError
from electra_cli.finetuning.intervals import Estimate
from electra_cli.finetuning.report import REPORT_NAME
from electra_cli.finetuning.settings import FinetuneRecipe
from electra_cli.finetuning.words import RANDOM_WEIGHTS, metric_title, show_gain, show_score
from electra_cli.presets import load_config, load_recipe
from electra_cli.publishing.hub import Publication
from electra_cli.run_directory import NoRowsError, RunDirectory
from electra_cli.runs.export import TrainedModel, as_text, held_out_table

# Where something lies, and how often it was looked at, is no part of a recipe.
_NO_RECIPE = ("data.directory", "run.probes", "run.report_to", "run.device")


def write_card(
    trained: TrainedModel, publication: Publication, finetunes: Path, has_curves: bool
) -> str:
    """The README of a repository. `finetunes`: a folder of fine-tunes, some of this model."""
    repo = publication.repo
    model, manifest = trained.model, trained.data.manifest
    main = model.main_network
    others = [name for name in model.networks() if name != main]
    parts = [
        f"---\nlicense: {publication.licence}\nlibrary_name: transformers\ntags: [electra]\n---",
        f"# {as_text(repo.partition('/')[2])}",
        model.uses[main].strip(),
        *(
            f"The {name} that it was trained with: `from_pretrained({repo!r}, subfolder={name!r})`."
            for name in others
        ),
        "## Data",
        f"{as_text(manifest.source_name)}: {manifest.num_documents:,} documents, "
        f"{manifest.num_tokens:,} tokens, vocabulary {manifest.vocab_size:,}; held out: "
        f"{manifest.num_validation_documents:,} documents, "
        f"{manifest.num_validation_tokens:,} tokens.",
        "## Training",
        "\n".join(_training(trained)),
        held_out_table(trained).strip(),
        "![loss curves](loss_curve.png)" if has_curves else "",
        "\n".join(finetune_rows(trained.run, main, trained.step, finetunes)),
        "## Recipe",
        "\n".join(_recipe(trained)),
        "Made with electra-cli.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _training(trained: TrainedModel) -> Iterator[str]:
    config = trained.config
    yield (
        f"{trained.step:,} of {config.run.num_steps:,} steps of {config.run.batch_size:,} windows "
        f"of at most {config.data.max_seq_length} tokens."
    )
    spent = _spent(trained.run, trained.step)
    if spent is not None:
        yield f"{spent[0]:,.0f} tokens and {spent[1]:.3g} training FLOPs."


def _spent(run: RunDirectory, until: int) -> tuple[float, float] | None:
    """Tokens and FLOPs of the last row up to a step; None where there is no row."""
    try:
        log = run.read_log()
    except NoRowsError:
        return None
    rows = [row for row, step in enumerate(log["step"]) if step is not None and step <= until]
    if not rows:
        return None
    return log["tokens_seen"][rows[-1]] or 0.0, log["train_flops"][rows[-1]] or 0.0


def _recipe(trained: TrainedModel) -> Iterator[str]:
    yield "| option | value |"
    yield "|---|---|"
    for name, value in trained.config.as_json().items():
        if name not in _NO_RECIPE:
            yield f"| {name} | {as_text(json.dumps(value))} |"


def finetune_rows(run: RunDirectory, main: str, step: int, finetunes: Path) -> Iterator[str]:
    """A table of the fine-tunes that began at this network after this step; nothing without one."""

    def began_here(encoder: str, flops: float | None) -> bool:
        # A run's name means another step after more training: the FLOPs tell.
        return _step_meant(Path(encoder), run, main) == step and flops in (None, of_step)

    spent = _spent(run, step)
    of_step = None if spent is None else spent[1]
    paths = sorted(finetunes.glob(f"*/{REPORT_NAME}"))
    rows = [row for path in paths for row in _rows(path, began_here)]
    if rows:
        yield "## Fine-tuning\n"
        yield "| training data | split | metric | score (95% interval) | over random weights |"
        yield "|---|---|---|---|---|"
        yield from rows


def _rows(path: Path, began_here: Callable[[str, float | None], bool]) -> Iterator[str]:
    config = RunDirectory(path.parent).config
    try:
        recipe = load_recipe(FinetuneRecipe, str(config), {}).finetune
        report = json.loads(path.read_text())
    except (UserError, OSError, ValueError):
        return  # an unfinished or foreign folder is no reason not to publish
    metric = report["metrics"][0]
    data = as_text(Path(recipe.train).name if recipe.train else recipe.task)
    if recipe.layers is not None:
        data += f" ({recipe.layers} layers)"
    for split, judged in report["splits"].items():
        for given, encoder in zip(recipe.encoders, judged["encoders"].values(), strict=True):
            if not began_here(given, encoder.get("pretraining_flops")):
                continue
            score = show_score(metric, _estimate(encoder["scores"][metric]))
            gain = encoder["gains"].get(RANDOM_WEIGHTS)
            gained = "" if gain is None else show_gain(metric, _estimate(gain[metric]))
            yield f"| {data} | {split} | {metric_title(metric)} | {score} | {gained} |"


def _step_meant(encoder: Path, run: RunDirectory, main: str) -> int | None:
    """After which step of this run the encoder is its main network; None if it is another one."""
    path, root = encoder.resolve(), run.root.resolve()
    if path in (root, root / main):
        # As a fine-tune reads a run: what it exported at its end, if that is there.
        if run.model(main).is_dir():
            return load_config(run.config).run.num_steps
        return max(run.checkpoint_steps(), default=None)
    if path.parent == root / run.checkpoints.name:
        return step_of_folder(path)
    if path.name == main and path.parent.parent == root / "export":
        return step_of_folder(path.parent)
    return None


def _estimate(score: dict[str, Any]) -> Estimate:
    """A score as report.json has it; null stands for NaN there."""
    numbers: dict[str, Any] = {k: math.nan if v is None else v for k, v in score.items()}
    return Estimate(**numbers)
