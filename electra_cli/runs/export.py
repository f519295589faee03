"""The results of a finished run: a Hugging Face folder per network, and the curves."""

import json
import re
from html import escape
from pathlib import Path

from electra_cli.data.batches import Position, iter_batches
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
    """Write a folder per network; each is loaded again and compared before it takes its place.

    Returns the folder of the main network, the trained encoder.
    """
    data, run = session.data, session.run
    reader = data.reader("train", session.config)
    sample, _ = next(iter_batches(reader, _SAMPLE_WINDOWS, Position()))
    folders = []
    for name, network in session.trainer.model.networks().items():
        card = _model_card(session, name)
        folders.append(run.model(name))
        export_network(network, folders[-1], data.tokenizer_directory, card, sample)
    return folders[0]


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

{session.trainer.model.uses[kind].format(directory=json.dumps(str(session.run.model(kind))))}
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
