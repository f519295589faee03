"""electra prepare: from a source to a folder of token shards that every preset trains on."""

import gc
import os
from dataclasses import dataclass
from pathlib import Path

from electra_cli import console
from electra_cli.data.bert_tokenizer import BertTokenizer
from electra_cli.data.exported_tokenizer import check_export
from electra_cli.data.manifest import (
    PROGRESS_NAME,
    TOKENIZER_NAME,
    PrepareSettings,
    load_manifest,
)
from electra_cli.data.shards import SHARD_TOKENS
from electra_cli.data.tokenizer import fingerprint, load_tokenizer
from electra_cli.disk import as_argument
from electra_cli.errors import ConfigError
from electra_cli.preparing.folder import (
    explain_failures,
    hold_folder,
    is_finished,
    load_folder_state,
)
from electra_cli.preparing.new_words import check_can_extend
from electra_cli.preparing.pipeline import prepare_folder
from electra_cli.preparing.sources import SourceOptions, open_source
from electra_cli.preparing.vocabulary import MIN_FREQUENCY
from electra_cli.presets import load_config
from electra_cli.run_directory import RunDirectory
from electra_cli.stopping import stop_request

VOCAB_SIZE = 30_522  # BERT's and ELECTRA's: the most that is chosen for a text
# How often a word piece occurs in the text, where no size is chosen. Rarer ones have too few
# examples to learn from (Gowda and May 2020, arXiv 2004.02334: the largest vocabulary of which
# 95% have 100 examples). With 30,522 pieces for 3.6 MB, most occurred a handful of times.
MIN_OCCURRENCES = 100
# For the built-in corpus, which the `tiny` preset trains on. A small model gets below the unigram
# entropy only if every piece is often a masked target, so the vocabulary must be small.
BUILTIN_VOCAB_SIZE = 512


@dataclass(frozen=True)
class PrepareOptions:
    """The options of the command line; None means the default for the source."""

    sources: tuple[str, ...] = ()
    out: Path | None = None
    tokenizer: str | None = None
    add_tokens: int = 0
    pad_vocab_to: int | None = None
    vocab_size: int | None = None
    cased: bool = False
    no_strip_accents: bool = False
    column: str | None = None
    subset: str | None = None
    split: str | None = None
    validation_fraction: float = 0.01
    max_bytes: int | None = None
    replace_broken: bool = False
    workers: int | None = None
    as_json: bool = False


def run(options: PrepareOptions, *, shard_tokens: int = SHARD_TOKENS) -> None:
    """Prepare a folder, or go on with an interrupted one; a finished one stays as it is.

    `shard_tokens`: train tokens after which a round ends.
    """
    gc.freeze()  # spares the collector what was imported: 0.1 s per GB of text
    if options.workers is not None:
        os.environ["RAYON_NUM_THREADS"] = str(options.workers)  # read when its threads start
    if options.tokenizer is not None and (
        options.vocab_size is not None or options.cased or options.no_strip_accents
    ):
        raise ConfigError(
            "--vocab-size, --cased and --no-strip-accents describe a tokenizer to train, "
            "--tokenizer brings its own",
            hint="leave out --tokenizer, or the others",
        )
    if options.tokenizer is None and options.add_tokens:
        raise ConfigError(
            "--add-tokens extends a tokenizer, and none is named",
            hint="add --tokenizer A, or choose how many pieces to learn with --vocab-size",
        )
    source = open_source(
        SourceOptions(
            sources=options.sources,
            column=options.column,
            subset=options.subset,
            split=options.split,
            max_bytes=options.max_bytes,
            replace_broken=options.replace_broken,
        )
    )
    given = None
    if options.tokenizer is not None:
        given = load_tokenizer(_tokenizer_of(options.tokenizer), console.announce_wait)
        if not isinstance(given, BertTokenizer):
            check_export(given)
        if options.add_tokens or options.pad_vocab_to:
            check_can_extend(given)
    default_size = VOCAB_SIZE if options.sources else BUILTIN_VOCAB_SIZE
    fits_text = given is None and options.vocab_size is None and bool(options.sources)
    settings = PrepareSettings(
        source=source.fingerprint(),
        tokenizer=None if given is None else fingerprint(given),
        vocab_size=(options.vocab_size or default_size) if given is None else None,
        cased=options.cased if given is None else None,
        strip_accents=False if options.no_strip_accents else None,
        min_occurrences=MIN_OCCURRENCES if fits_text or options.add_tokens else MIN_FREQUENCY,
        add_tokens=options.add_tokens,
        pad_vocab_to=options.pad_vocab_to,
        validation_fraction=options.validation_fraction,
        shard_tokens=shard_tokens,
    )
    directory = options.out or Path("data") / source.name
    with explain_failures(directory), stop_request() as stop:
        if is_finished(directory, settings):
            (directory / PROGRESS_NAME).unlink(missing_ok=True)  # killed between the last two steps
            console.talk(f"{directory} is there already, made from this source with these settings")
        else:
            load_folder_state(directory, settings)  # refuses a folder of something else
            with hold_folder(directory):
                # Another process may have finished it until this one got the lock.
                if not is_finished(directory, settings):
                    prepare_folder(source, given, directory, settings, options.workers, stop)
    if options.as_json:
        manifest = load_manifest(directory).model_dump(mode="json", exclude={"shards"})
        console.result_json({"directory": str(directory), **manifest})
        return
    console.result(directory)
    console.hint(f"next: electra train --preset tiny --data {as_argument(directory)}")


def _tokenizer_of(name: str) -> str:
    """The tokenizer's own folder, where a run or a prepared folder is named."""
    path = Path(name)
    run = RunDirectory(path)
    if run.config.is_file():
        path = load_config(run.config).data.directory or path
    return str(path / TOKENIZER_NAME) if (path / TOKENIZER_NAME).is_dir() else name
