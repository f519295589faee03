"""What an ENCODER argument means: a run, a checkpoint of one, a folder or id of transformers."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from electra_cli.config import PretrainConfig
from electra_cli.data.manifest import TOKENIZER_NAME
from electra_cli.data.tokenizer import Tokenizer, count_ids, load_tokenizer
from electra_cli.disk import as_argument, step_of_folder
from electra_cli.errors import ConfigError, DataError, RunError
from electra_cli.model.encoders import EncoderWeights, encoder_of_checkpoint, open_encoder
from electra_cli.model.objectives.registry import objective_class
from electra_cli.presets import load_config
from electra_cli.run_directory import RunDirectory
from electra_cli.training.checkpoint import CheckpointManager


@dataclass(frozen=True)
class Encoder:
    """A pre-trained encoder with its tokenizer, and what its run says of it."""

    name: str  # as it was given, for messages
    label: str  # of folders and of the report
    weights: EncoderWeights
    tokenizer: Tokenizer
    window: int | None = None  # the longest input of its pre-training
    has_one_segment: bool = False  # it never saw a second segment
    pretraining_flops: float | None = None

    def sha256(self) -> str:
        """Of its weights: a resume must start from the same."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.weights.weights.items()):
            digest.update(name.encode())
            digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def open_encoders(names: Sequence[str], layers: int | None = None) -> list[Encoder]:
    """All of them, each under a label of its own. Raises UserError for what cannot be used.

    `layers`: only so many of each, the first ones.
    """
    found: list[Encoder] = []
    for name in names:
        encoder = _open(name)
        taken = {each.label for each in found}
        label = encoder.label
        for number in range(2, len(names) + 1):
            if label in taken:
                label = f"{encoder.label}-{number}"
        broken = [n for n, t in encoder.weights.weights.items() if not t.isfinite().all()]
        if broken:
            raise RunError(
                f"{name}: {broken[0]} and {len(broken) - 1} more weights are not finite",
                hint="name another checkpoint of its run",
            )
        if layers is not None:
            if layers > encoder.weights.num_layers:
                raise ConfigError(
                    f"finetune.layers is {layers}, but {name} has {encoder.weights.num_layers}",
                    hint=f"a number up to {encoder.weights.num_layers}",
                )
            encoder = replace(encoder, weights=encoder.weights.first_layers(layers))
        found.append(replace(encoder, label=label))
    return found


def _open(name: str) -> Encoder:
    path = Path(name)
    run = RunDirectory(path)
    step = step_of_folder(path.resolve())
    if run.config.is_file():
        exported = run.model(objective_class(load_config(run.config).objective.name).main_network)
        if exported.is_dir():
            return _open_folder(name, str(exported), run)
        steps = run.checkpoint_steps()
        if not steps:
            raise RunError(
                f"{name} has neither an exported model nor a checkpoint",
                hint=f"go on with it: electra resume {as_argument(path)}",
            )
        return _open_checkpoint(name, run, steps[-1])
    if step is not None and path.is_dir():
        return _open_checkpoint(name, RunDirectory(path.resolve().parents[1]), step)
    beside = RunDirectory(path.resolve().parent)
    return _open_folder(name, name, beside if path.is_dir() and beside.config.is_file() else None)


def _open_folder(name: str, source: str, run: RunDirectory | None) -> Encoder:
    weights = open_encoder(source)
    encoder = Encoder(name, _label(name), weights, _open_tokenizer(name, source, weights))
    if run is None:
        return encoder
    config = load_config(run.config)
    has_sinusoids = config.model.position_init == "sinusoidal"
    return replace(
        _with_run(encoder, run, config, None),
        weights=replace(weights, has_sinusoids=has_sinusoids),
    )


def _open_checkpoint(name: str, run: RunDirectory, step: int) -> Encoder:
    config = load_config(run.config)
    manager = CheckpointManager(run.checkpoints, keep=1)
    try:
        named = manager.load(step).tensors["model"]
    finally:
        manager.close()
    assert config.data.directory is not None  # train saved it
    source = str(config.data.directory / TOKENIZER_NAME)
    main = objective_class(config.objective.name).main_network
    table = named[f"{main}.electra.embeddings.word_embeddings.weight"]
    try:
        tokenizer = load_tokenizer(source)
    except DataError as error:
        raise _no_tokenizer(name, error) from None
    weights = encoder_of_checkpoint(config.model, named, main, len(table), tokenizer.pad_token_id)
    label = f"{run.root.resolve().name}-step-{step}"
    return _with_run(Encoder(name, label, weights, tokenizer), run, config, step)


def _with_run(
    encoder: Encoder, run: RunDirectory, config: PretrainConfig, step: int | None
) -> Encoder:
    """What the run knows of its encoder at a step, by default at its end."""
    flops = None
    if run.log.is_file():
        log = run.read_log()
        rows = [
            flops
            for at, flops in zip(log["step"], log["train_flops"], strict=True)
            if step is None or (at is not None and at <= step)
        ]
        flops = rows[-1] if rows else None
    return replace(
        encoder,
        window=config.data.max_seq_length,
        has_one_segment=config.data.single_segment_fraction == 1,
        pretraining_flops=flops,
    )


def _open_tokenizer(name: str, source: str, weights: EncoderWeights) -> Tokenizer:
    try:
        tokenizer = load_tokenizer(source)
    except DataError as error:
        raise _no_tokenizer(name, error) from None
    if count_ids(tokenizer) > weights.vocab_size:
        raise RunError(
            f"{name}: its tokenizer has ids up to {count_ids(tokenizer) - 1:,}, its embeddings "
            f"{weights.vocab_size:,} rows",
            hint="put the tokenizer of its pre-training into the folder",
        )
    return tokenizer


def _no_tokenizer(name: str, error: DataError) -> RunError:
    return RunError(
        f"{name} has no tokenizer: {error}",
        hint="copy tokenizer.json and tokenizer_config.json of its pre-training into it",
    )


def _label(name: str) -> str:
    """A name for folders: the last part, with the run's before it for a network of a run."""
    path = Path(name)
    parts = [part for part in path.parts if part not in ("/", ".", "..")]
    last = parts[-1] if parts else path.resolve().name
    if last in ("discriminator", "generator", "masked_lm", "model") and len(parts) > 1:
        last = f"{parts[-2]}-{last}"
    return re.sub(r"[^\w.+-]", "_", last).lstrip(".") or "encoder"
