"""The results of a finished run: a Hugging Face folder per network, and the curves."""

import re
from html import escape
from pathlib import Path

from electra_cli import console
from electra_cli.batch import Batch
from electra_cli.data.batches import Position, iter_batches
from electra_cli.data.exported_tokenizer import export_tokenizer
from electra_cli.data.tokenizer import open_with_transformers
from electra_cli.disk import replace_folder
from electra_cli.model.export import export_network
from electra_cli.plotting.page import write_page
from electra_cli.plotting.picture import write_picture
from electra_cli.plotting.run_log import read_run
from electra_cli.presets import load_options
from electra_cli.run_directory import RunDirectory
from electra_cli.runs.session import Session

# Windows on which an exported model is compared with the one in memory.
_SAMPLE_WINDOWS = 4


def export_models(session: Session) -> Path:
    """Write a folder per network with its tokenizer and a card.

    Each is loaded again and compared with what was trained before it takes its place; what was
    there is set aside. Returns the folder of the main network, the trained encoder.
    """
    run, sample = session.run, _sample(session)
    tokenizer = open_with_transformers(str(session.data.tokenizer_directory))
    for name, network in session.trainer.model.networks().items():
        with replace_folder(run.model(name), _tell_aside) as folder:
            export_network(network, folder, sample)
            export_tokenizer(tokenizer, folder, network.config.max_position_embeddings)
            (folder / "README.md").write_text(_model_card(session, name), encoding="utf-8")
    return run.model(session.trainer.model.main_network)


def _sample(session: Session) -> Batch:
    """A few windows, held-out ones where there are any: to cut a corpus takes minutes."""
    if session.evaluation:
        return next(iter(session.evaluation[0].split(_SAMPLE_WINDOWS)))
    reader = session.data.reader("train", session.config)
    return next(iter_batches(reader, _SAMPLE_WINDOWS, Position()))[0]


def _tell_aside(aside: Path) -> None:
    console.talk(f"an earlier model was set aside: {aside}")


def _model_card(session: Session, kind: str) -> str:
    config, manifest = session.config, session.data.manifest
    log = session.run.read_log()
    figures = "\n".join(
        f"| {name.removeprefix('validation_')} | {column[-1]:.4f} |"
        for name, column in log.items()
        if name.startswith("validation_") and column[-1] is not None
    )
    return f"""---
library_name: transformers
tags: [electra]
---
# ELECTRA {kind}

{session.trainer.model.uses[kind]}
Pre-trained with electra-cli for {session.trainer.step:,} steps of {config.run.batch_size:,}
windows of at most {config.data.max_seq_length} tokens, on {manifest.num_tokens:,} tokens
of {_as_text(manifest.source_name)} (vocabulary {manifest.vocab_size:,}).

| held-out metric at the end | value |
|---|---|
{figures}
"""


def _as_text(name: str) -> str:
    """A name in Markdown as it is: neither markup, HTML nor a line of its own."""
    line = "".join(character if character.isprintable() else " " for character in name)
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", escape(line))


def draw_curves(run: RunDirectory) -> None:
    """The curves as a page and as a picture, in the run's folder."""
    logs = [read_run(run, run.root.name, load_options(run.config))]
    write_page(run.page, logs)
    write_picture(run.picture, logs)
