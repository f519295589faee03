"""Where a run starts that does not start from random weights: model.init_from, .generator_from.

Opens what they name, copies it, and says what was loaded. Sizes are fitting.py's work.
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electra_cli import console
from electra_cli.data.manifest import TOKENIZER_NAME, load_new_tokens
from electra_cli.data.prepared import PreparedData
from electra_cli.data.tokenizer import fingerprint, load_tokenizer
from electra_cli.disk import as_argument, expand_home, step_of_folder
from electra_cli.errors import DataError, RunError
from electra_cli.metrics import first_row
from electra_cli.model.networks import load_parameters
from electra_cli.model.sources import (
    SourceNetwork,
    networks_of_run,
    open_network,
)
from electra_cli.model.starting import Loaded, NewTokens, part_of, start_from
from electra_cli.model.tensor_bundle import find_bundle
from electra_cli.model.tensorflow import open_tensorflow
from electra_cli.presets import load_config
from electra_cli.run_directory import RunDirectory
from electra_cli.runs.progress import describe_evaluation
from electra_cli.runs.records import open_records
from electra_cli.runs.rollback import load_newest
from electra_cli.runs.session import Session
from electra_cli.runs.write_errors import record_event
from electra_cli.training.checkpoint import CheckpointManager

_MAIN_FOLDERS = ("discriminator", "masked_lm")
_SIZES = (
    "num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size",
    "embedding_size", "max_position_embeddings",
)  # fmt: skip
_DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob")


@dataclass(frozen=True)
class _Source:
    """What a name stands for."""

    name: str
    main: SourceNetwork
    generator: SourceNetwork | None
    tokenizer_sha256: str
    tokenizer: str  # an argument of electra prepare --tokenizer


@dataclass(frozen=True)
class StartingPoint:
    """The networks that a run starts from."""

    main: SourceNetwork | None
    generator: SourceNetwork | None
    sources: tuple[_Source, ...]

    def usual_options(self, max_seq_length: object) -> dict[str, Any]:
        """What takes the place of a preset's values: sizes, and the dropout of before.

        Also its `max_seq_length`, where the network cannot read windows so long.
        """
        if self.main is None:
            return {}
        options = {f"model.{name}": getattr(self.main.config, name) for name in _DROPOUTS}
        positions = self.main.config.max_position_embeddings
        if isinstance(max_seq_length, int) and max_seq_length > positions:
            options["data.max_seq_length"] = positions
        # Tied only where the weights of a pair are the same (_fit_generator).
        return {**sizes_of(self.main), **options, "model.tie_encoders": False}

    def new_tokens(self, data: PreparedData) -> NewTokens:
        """The ids that the data's tokenizer has beyond those of the networks.

        Raises DataError unless all others mean the same in the data and to every network.
        """
        manifest = data.manifest
        gained: NewTokens = {}
        if any(each.tokenizer_sha256 != manifest.tokenizer_sha256 for each in self.sources):
            gained = load_new_tokens(data.directory)
        found = manifest.settings.tokenizer if gained else manifest.tokenizer_sha256
        for source in self.sources:
            wanted = source.tokenizer_sha256
            if wanted != found:
                raise DataError(
                    f"{source.name} has tokenizer {wanted[:12]}, {data.directory} was prepared "
                    f"with {manifest.tokenizer_sha256[:12]}",
                    hint=f"electra prepare SOURCE --tokenizer {source.tokenizer} --out NEW_DIR",
                )
        for network in (self.main, self.generator):
            num_ids = manifest.vocab_size - len(gained)
            if network is not None and network.vocab_size < num_ids:
                raise RunError(
                    f"{network.name} has {network.vocab_size:,} rows of embeddings, its tokenizer "
                    f"{num_ids:,} ids",
                    hint="put the tokenizer of its pre-training into the folder",
                )
        return gained


def sizes_of(main: SourceNetwork) -> dict[str, Any]:
    """Options that follow from the main network."""
    return {f"model.{name}": getattr(main.config, name) for name in _SIZES}


def checkpoint_of(name: str, step: int | None = None) -> str:
    """What a source is called in config.yaml: its whole path; of a run that of a checkpoint.

    The checkpoint is that of a step, by default the newest that verifies. So another start from
    the same settings finds the same weights. Raises RunError where there is none.
    """
    path = expand_home(name)
    run = RunDirectory(path)
    if not run.config.is_file():
        if step is not None:
            raise RunError(
                f"--step {step} chooses a checkpoint of a run, and {name} is none",
                hint="leave --step out, or did you mean --steps?",
            )
        return str(path.resolve()) if path.exists() else name
    checkpoints = CheckpointManager(run.checkpoints, keep=1)
    try:
        if step is None:
            step = load_newest(checkpoints, run.root, "start from").step
    finally:
        checkpoints.close()
    return str(checkpoints.path_of(step).resolve())


def open_starting_point(
    init_from: str | None, generator_from: str | None, num_attention_heads: int | None = None
) -> StartingPoint | None:
    """The networks that a run is to start from; None: random weights. Raises UserError.

    `num_attention_heads`: for a checkpoint that does not say, as TensorFlow's.
    """
    main = None if init_from is None else _open(init_from, num_attention_heads)
    beside = None if generator_from is None else _open(generator_from, num_attention_heads)
    sources = tuple(source for source in (main, beside) if source is not None)
    if not sources:
        return None
    generator = main.generator if main else None
    if beside is not None:
        generator = beside.generator or beside.main
        if not generator.predicts_words:
            raise RunError(
                f"{beside.name} predicts no words, so it cannot be a generator",
                hint="--generator takes a masked language model, such as the folder generator/ of "
                "a run",
            )
    return StartingPoint(main.main if main else None, generator, sources)


def _open(name: str, num_attention_heads: int | None = None) -> _Source:
    path = Path(name)
    step = step_of_folder(path)
    if step is not None and (run := RunDirectory(path.parent.parent)).config.is_file():
        return _open_checkpoint(name, run, step)
    if path.is_dir() and not (path / "config.json").is_file():
        for kind in _MAIN_FOLDERS:
            if (path / kind).is_dir():
                name = str(path / kind)
    prefix = find_bundle(path) if path.is_dir() and not (path / "config.json").is_file() else None
    if prefix is not None:
        return _open_tensorflow(name, prefix, num_attention_heads)
    main = open_network(name)
    generator = None
    beside = re.sub(r"(^|[/-])discriminator$", r"\1generator", name)
    if beside != name and (Path(beside).is_dir() or not Path(name).exists()):
        try:
            generator = open_network(beside)
        except RunError:
            if Path(beside).is_dir():
                raise
            console.talk(f"there is no generator {beside}")
    hint = "copy tokenizer.json and tokenizer_config.json of its pre-training into it"
    return _Source(name, main, generator, _tokenizer_of(name, hint), as_argument(Path(name)))


def _open_tensorflow(name: str, prefix: Path, num_attention_heads: int | None) -> _Source:
    main, generator = open_tensorflow(name, prefix, num_attention_heads)
    hint = "copy vocab.txt of its pre-training into it"
    return _Source(name, main, generator, _tokenizer_of(name, hint), as_argument(Path(name)))


def _tokenizer_of(name: str, hint: str) -> str:
    """The fingerprint of the tokenizer beside a network."""
    try:
        return fingerprint(load_tokenizer(name, console.announce_wait))
    except DataError as error:
        raise RunError(f"{name} has no tokenizer: {error}", hint=hint) from None


def _open_checkpoint(name: str, run: RunDirectory, step: int) -> _Source:
    config = load_config(run.config)
    checkpoints = CheckpointManager(run.checkpoints, keep=1)
    try:
        checkpoint = checkpoints.load(step)
    finally:
        checkpoints.close()
    main, generator = networks_of_run(name, config, checkpoint.tensors["model"])
    assert config.data.directory is not None  # train saved it
    tokenizer = as_argument(config.data.directory / TOKENIZER_NAME)
    return _Source(name, main, generator, checkpoint.state.tokenizer_sha256, tokenizer)


def begin_run(session: Session, start: StartingPoint | None) -> None:
    """Step 0: load what the run starts from, evaluate it, and save.

    Saved before the first step, so that a disk without room for it is found now and not in hours.
    The first process alone has a `start`; it sends the weights to the others.
    """
    records, processes = open_records(session), session.processes
    if session.config.model.starts_trained:
        model = session.trainer.model
        if start is not None:
            _tell_start(
                session.run,
                start_from(model, start.main, start.generator, start.new_tokens(session.data)),
            )
        weights = {name: parameter.detach().cpu() for name, parameter in model.named_parameters()}
        if not processes.is_alone:
            load_parameters(model, processes.send({"model": weights})["model"])
        # A resume may have the row.
        if session.evaluation and not processes.from_first(session.run.count_rows):
            held_out = session.evaluate(is_probed=True)
            records.append_row(first_row(model.metric_names()[0], held_out))
            console.talk(describe_evaluation(0, held_out))
    records.save_now()


def _tell_start(run: RunDirectory, loaded: list[Loaded]) -> None:
    """Show what came from where, and keep it with the run."""
    rows = []
    for each in loaded:
        source = each.source or "random weights"
        counts = [Counter(map(part_of, names)) for names in (each.loaded, each.new, each.left_over)]
        for part in dict.fromkeys(part for count in counts for part in count):
            cells = (f"{count[part]:,}" if count[part] else "" for count in counts)
            rows.append((f"{each.network}: {part}", *cells))
        kinds = zip(("loaded", "new", "left over"), counts, strict=True)
        text = "; ".join(f"{kind} {_summary(count)}" for kind, count in kinds)
        console.talk(f"{each.network} from {source}")
        record_event(run, 0, "started", f"{each.network} from {source}: {text}")
    console.table("starting weights", ("tensors", "loaded", "new", "left over"), rows)


def _summary(counts: Counter[str]) -> str:
    return ", ".join(f"{part} ({count})" for part, count in counts.items()) or "nothing"
