"""Where documents come from: files, a Hugging Face dataset, or the built-in corpus.

What is inside a file is formats.py's work, tokens are encoder.py's.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from electra_cli import console
from electra_cli.data.manifest import MANIFEST_NAME, PROGRESS_NAME, TOKENIZER_NAME
from electra_cli.errors import DataError
from electra_cli.preparing import builtin
from electra_cli.preparing.columns import no_column, not_text
from electra_cli.preparing.dataset_folders import DEFAULT_SPLIT, dataset_files
from electra_cli.preparing.formats import check_file, read_documents
from electra_cli.preparing.hub import explained_errors, hub_revision, stream_dataset
from electra_cli.preparing.paths import (
    COLUMN_ENDINGS,
    PLAIN_ENDINGS,
    ending_of,
    find_files,
    looks_like_path,
    name_of,
)
from electra_cli.preparing.raw_text import (
    DEFAULT_LIMITS,
    DocumentGroup,
    InputChecker,
    Limits,
    strip_text,
)
from electra_cli.preparing.source import Source, SourceOptions
from electra_cli.run_directory import RunDirectory

BUILTIN_NAME = "python-docs"
FILES_CHECKED_FIRST = 100  # before work begins; of more files, each is checked when it is read


class FileSource(Source):
    """Files, one after the other."""

    def __init__(self, options: SourceOptions, limits: Limits = DEFAULT_LIMITS) -> None:
        dataset_folders = []

        def choose(folder: Path) -> list[Path] | None:
            if _is_own_folder(folder):
                return []
            files = dataset_files(folder, options.subset, options.split)
            if files is not None:
                dataset_folders.append(folder)
            return files

        self._files, skipped = find_files(options.sources, choose)
        super().__init__(name_of(options.sources, self._files), options, limits)
        self.skipped = tuple(skipped)
        if not dataset_folders:
            acts_on = (
                "dataset ids and folders made by `datasets` or copied from the Hugging Face Hub"
            )
            _refuse(options, ("split", "subset"), f"it acts on {acts_on}, and {self.name} is none")
        if all(_is_plain(path) for path in self._files):
            acts_on = f"{' '.join(COLUMN_ENDINGS)} and datasets"
            _refuse(options, ("column",), f"it acts on {acts_on}, and these are text files")
        for path in self._files[:FILES_CHECKED_FIRST]:
            check_file(path, options.text_column, options.replace_broken, limits)

    def total_bytes(self) -> int:
        """Size of the files as they are on disk."""
        return sum(path.stat().st_size for path in self._files)

    def _groups(self) -> Iterator[DocumentGroup]:
        for path in self._files:
            self.counts.files += 1
            before = self.counts.disk_bytes_read
            column, replace_broken = self._options.text_column, self._options.replace_broken
            for group in read_documents(path, column, replace_broken, self._limits):
                self.counts.disk_bytes_read = before + group.disk_position
                yield group

    def _identity(self) -> object:
        found = [(path, path.stat()) for path in self._files]
        return [[str(path.resolve()), stat.st_size, stat.st_mtime_ns] for path, stat in found]


class BuiltinSource(Source):
    """The Python documentation installed on this machine."""

    def __init__(self, options: SourceOptions, limits: Limits = DEFAULT_LIMITS) -> None:
        super().__init__(BUILTIN_NAME, options, limits)
        names = ("split", "subset", "column", "replace_broken")
        _refuse(options, names, "it acts on files and datasets, and no SOURCE is named")

    def total_bytes(self) -> int | None:
        """Size of the corpus; None before it was made for the first time."""
        return builtin.builtin_bytes()

    def _groups(self) -> Iterator[DocumentGroup]:
        for document in builtin.builtin_documents():
            text = document.encode()
            self.counts.disk_bytes_read += len(text)
            yield DocumentGroup([strip_text(text)], input_bytes=len(text))

    def _identity(self) -> object:
        return builtin.builtin_fingerprint()


class HubSource(Source):
    """A dataset of the Hugging Face Hub, streamed: it is not downloaded first."""

    def __init__(self, options: SourceOptions, limits: Limits = DEFAULT_LIMITS) -> None:
        (self._id,) = options.sources
        super().__init__(self._id.rpartition("/")[2], options, limits)
        self._revision = hub_revision(self._id)
        with console.announce_wait(f"waiting for the first rows of {self._id} from the network"):
            split = options.split or DEFAULT_SPLIT
            self._rows = stream_dataset(self._id, options.subset, split, self._revision)
            next(self._groups(), None)  # reports a missing column before work begins

    def total_bytes(self) -> None:
        """None: the size of a stream is not known."""

    def _groups(self) -> Iterator[DocumentGroup]:
        column = self._options.text_column
        checker = InputChecker(self._id, "row", self._options.replace_broken)
        with explained_errors(self._id):
            for number, row in enumerate(self._rows, start=1):
                if column not in row:
                    raise no_column(self._id, column, row)
                value = row[column]
                if value is not None and not isinstance(value, str):
                    raise not_text(self._id, column, type(value).__name__)
                text = checker.repair(value or "", number).encode()
                yield checker.make_group([strip_text(text)], 0)._replace(input_bytes=len(text))

    def _identity(self) -> object:
        return [self._id, self._revision]


def open_source(options: SourceOptions, limits: Limits = DEFAULT_LIMITS) -> Source:
    """The source that the arguments mean.

    Raises DataError for all that names, sizes and the beginnings of files can show.
    """
    if not options.sources:
        return BuiltinSource(options, limits)
    try:
        if len(options.sources) == 1 and not looks_like_path(options.sources[0]):
            return HubSource(options, limits)
        return FileSource(options, limits)
    except OSError as error:
        where = error.filename or options.sources[0]
        raise DataError(
            f"{where} cannot be read: {error.strerror or error}",
            hint="check the name, and that you may read it",
        ) from None


def _is_own_folder(folder: Path) -> bool:
    """Whether this program made it: a prepared folder or a run. What is in there is no text."""
    marks = (MANIFEST_NAME, PROGRESS_NAME)
    is_prepared = (folder / TOKENIZER_NAME).is_dir() and any((folder / n).is_file() for n in marks)
    run = RunDirectory(folder)
    return is_prepared or (run.config.is_file() and run.environment.is_file())


def _refuse(options: SourceOptions, names: Sequence[str], reason: str) -> None:
    """Raise DataError for one of these options that was given."""
    for name in names:
        if getattr(options, name) not in (None, False):
            flag = f"--{name.replace('_', '-')}"
            raise DataError(f"{flag} has nothing to act on: {reason}", hint=f"leave out {flag}")


def _is_plain(path: Path) -> bool:
    ending = ending_of(path)
    return ending is not None and ending[0] in PLAIN_ENDINGS
