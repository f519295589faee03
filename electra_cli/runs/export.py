"""The results of a run: a Hugging Face folder per network, and the curves."""

import re
from dataclasses import dataclass
from html import escape
from pathlib import Path

from electra_cli import console
from electra_cli.batch import Batch
from electra_cli.config import PretrainConfig
from electra_cli.data.batches import Position, evaluation_batches, iter_batches
from electra_cli.data.exported_tokenizer import export_tokenizer
from electra_cli.data.prepared import PreparedData
from electra_cli.data.tokenizer import open_with_transformers
from electra_cli.disk import replace_folder
from electra_cli.model.export import export_network
from electra_cli.model.objectives.objective import Objective
from electra_cli.model.onnx import export_onnx
from electra_cli.plotting.page import write_page
from electra_cli.plotting.picture import write_picture
from electra_cli.plotting.run_log import read_run
from electra_cli.presets import load_options
from electra_cli.run_directory import NoRowsError, RunDirectory
from electra_cli.runs.session import Session

# Windows on which an exported model is compared with the one in memory.
_SAMPLE_WINDOWS = 4


@dataclass(frozen=True)
class TrainedModel:
    """A model of a run as it is after a step."""

    run: RunDirectory
    config: PretrainConfig
    data: PreparedData
    model: Objective
    step: int


def trained_model(session: Session) -> TrainedModel:
    """The model of a session as it is now."""
    trainer = session.trainer
    return TrainedModel(session.run, session.config, session.data, trainer.model, trainer.step)


def export_models(trained: TrainedModel, root: RunDirectory, with_onnx: bool = False) -> Path:
    """Write a folder per network with its tokenizer and a card into `root`, mostly the run itself.

    Each is loaded again and compared with what was trained before it takes its place; what was
    there is set aside. Returns the folder of the main network, the trained encoder.
    """
    sample = _sample(trained)
    tokenizer = open_with_transformers(str(trained.data.tokenizer_directory))
    for name, network in trained.model.networks().items():
        with replace_folder(root.model(name), _tell_aside) as folder:
            loaded = export_network(network, folder, sample)
            if with_onnx:
                export_onnx(loaded, folder, sample)
            export_tokenizer(tokenizer, folder, network.config.max_position_embeddings)
            (folder / "README.md").write_text(_model_card(trained, name), encoding="utf-8")
    return root.model(trained.model.main_network)


def _sample(trained: TrainedModel) -> Batch:
    """A few windows, held-out ones where there are any: to cut a corpus takes minutes."""
    held_out = trained.data.reader("validation", trained.config)
    if found := evaluation_batches(held_out, _SAMPLE_WINDOWS, _SAMPLE_WINDOWS):
        return found[0]
    reader = trained.data.reader("train", trained.config)
    return next(iter_batches(reader, _SAMPLE_WINDOWS, Position()))[0]


def _tell_aside(aside: Path) -> None:
    console.talk(f"an earlier model was set aside: {aside}")


def _model_card(trained: TrainedModel, kind: str) -> str:
    config, manifest = trained.config, trained.data.manifest
    return f"""---
library_name: transformers
tags: [electra]
---
# ELECTRA {kind}

{trained.model.uses[kind]}
Pre-trained with electra-cli for {trained.step:,} steps of {config.run.batch_size:,}
windows of at most {config.data.max_seq_length} tokens, on {manifest.num_tokens:,} tokens
of {as_text(manifest.source_name)} (vocabulary {manifest.vocab_size:,}).
{held_out_table(trained)}"""


def held_out_table(trained: TrainedModel) -> str:
    """The last held-out metrics up to the step; nothing where none were logged."""
    try:
        log = trained.run.read_log()
    except NoRowsError:
        return ""
    losses = log.get("validation_loss", [])
    evaluated = [
        row
        for row, (step, loss) in enumerate(zip(log["step"], losses, strict=False))
        if step is not None and step <= trained.step and loss is not None
    ]
    if not evaluated:
        return ""
    last = evaluated[-1]
    figures = "\n".join(
        f"| {name.removeprefix('validation_')} | {column[last]:.4f} |"
        for name, column in log.items()
        if name.startswith("validation_") and column[last] is not None
    )
    return f"""
| held-out metric at step {log["step"][last]:,.0f} | value |
|---|---|
{figures}
"""


def as_text(name: str) -> str:
    """A name in Markdown as it is: neither markup, HTML nor a line of its own."""
    line = "".join(character if character.isprintable() else " " for character in name)
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", escape(line))


def draw_curves(run: RunDirectory) -> None:
    """The curves as a page and as a picture, in the run's folder."""
    logs = [read_run(run, run.root.name, load_options(run.config))]
    write_page(run.page, logs)
    write_picture(run.picture, logs)


def draw_picture(run: RunDirectory, path: Path) -> bool:
    """The curves as a picture elsewhere; False where the run has no row yet."""
    try:
        write_picture(path, [read_run(run, run.root.name, load_options(run.config))])
    except NoRowsError:
        return False
    return True
