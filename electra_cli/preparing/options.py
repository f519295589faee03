"""What `electra prepare` was asked for: source, tokenizer, and the settings of the folder."""

from dataclasses import dataclass
from pathlib import Path

from electra_cli import console
from electra_cli.data.bert_tokenizer import BertTokenizer
from electra_cli.data.exported_tokenizer import check_export
from electra_cli.data.manifest import TOKENIZER_NAME, PrepareSettings
from electra_cli.data.tokenizer import Tokenizer, fingerprint, load_tokenizer
from electra_cli.errors import ConfigError
from electra_cli.preparing.new_words import check_can_extend
from electra_cli.preparing.source import Source, SourceOptions
from electra_cli.preparing.vocabulary import MIN_FREQUENCY
from electra_cli.run_directory import RunDirectory

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

    source: SourceOptions
    out: Path | None = None
    tokenizer: str | None = None
    add_tokens: int = 0
    pad_vocab_to: int | None = None
    vocab_size: int | None = None
    cased: bool = False
    no_strip_accents: bool = False
    validation_fraction: float = 0.01
    workers: int | None = None
    as_json: bool = False

    def check(self) -> None:
        """Raises ConfigError for options that contradict each other."""
        describes_new = self.vocab_size is not None or self.cased or self.no_strip_accents
        if self.tokenizer is not None and describes_new:
            raise ConfigError(
                "--vocab-size, --cased and --no-strip-accents describe a tokenizer to train, "
                "--tokenizer brings its own",
                hint="leave out --tokenizer, or the others",
            )
        if self.tokenizer is None and self.add_tokens:
            raise ConfigError(
                "--add-tokens extends a tokenizer, and none is named",
                hint="add --tokenizer A, or choose how many pieces to learn with --vocab-size",
            )

    def open_tokenizer(self) -> Tokenizer | None:
        """The tokenizer that is named; None: one is trained."""
        if self.tokenizer is None:
            return None
        given = load_tokenizer(_tokenizer_of(self.tokenizer), console.announce_wait)
        if not isinstance(given, BertTokenizer):
            check_export(given)
        if self.add_tokens or self.pad_vocab_to:
            check_can_extend(given)
        return given

    def settings(
        self, source: Source, given: Tokenizer | None, shard_tokens: int
    ) -> PrepareSettings:
        """All that decides the content of the folder."""
        default_size = VOCAB_SIZE if self.source.sources else BUILTIN_VOCAB_SIZE
        fits_text = given is None and self.vocab_size is None and bool(self.source.sources)
        return PrepareSettings(
            source=source.fingerprint(),
            tokenizer=None if given is None else fingerprint(given),
            vocab_size=(self.vocab_size or default_size) if given is None else None,
            cased=self.cased if given is None else None,
            strip_accents=False if self.no_strip_accents else None,
            min_occurrences=MIN_OCCURRENCES if fits_text or self.add_tokens else MIN_FREQUENCY,
            add_tokens=self.add_tokens,
            pad_vocab_to=self.pad_vocab_to,
            validation_fraction=self.validation_fraction,
            shard_tokens=shard_tokens,
        )


def _tokenizer_of(name: str) -> str:
    """The tokenizer's own folder, where a run or a prepared folder is named."""
    path = Path(name)
    run = RunDirectory(path)
    if run.config.is_file():
        from electra_cli.presets import load_config  # 50 ms, which no other prepare needs

        path = load_config(run.config).data.directory or path
    return str(path / TOKENIZER_NAME) if (path / TOKENIZER_NAME).is_dir() else name
