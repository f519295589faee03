"""Where documents come from: files, a Hugging Face dataset, or the built-in corpus.

Yields stripped documents and counts them. What is inside a file is formats.py's work, tokens are
encoder.py's.
"""

import hashlib
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from electra_cli import console
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
    cut_position,
    strip_text,
)

BUILTIN_NAME = "python-docs"
FILES_CHECKED_FIRST = 100  # before work begins; of more files, each is checked when it is read


@dataclass(frozen=True)
class SourceOptions:
    """What `electra prepare` reads."""

    sources: tuple[str, ...]  # empty: the built-in corpus
    column: str | None = None  # None: the one called text
    subset: str | None = None
    split: str | None = None  # None: train
    max_bytes: int | None = None  # stop after so many bytes (UTF-8) of document text
    replace_broken: bool = False

    @property
    def text_column(self) -> str:
        """The column or key that holds the text."""
        return "text" if self.column is None else self.column


@dataclass
class SourceCounts:
    """Filled while documents() runs; complete when it ends.

    Every byte is counted: bytes_read + replacement_bytes == text_bytes + separator_bytes +
    other_column_bytes + beyond_limit_bytes.
    """

    files: int = 0
    bytes_read: int = 0  # decompressed; of tables and datasets only the text column
    disk_bytes_read: int = 0  # of total_bytes()
    documents: int = 0
    text_bytes: int = 0  # UTF-8, of the documents that were yielded
    empty_documents: int = 0  # dropped: nothing but white space
    split_documents: int = 0  # longer than max_document_bytes, so yielded as several
    broken_lines: int = 0  # lines or rows in which U+FFFD replaced broken text
    broken_bytes: int = 0  # that were replaced
    broken_characters: int = 0  # U+FFFD in their place
    replacement_bytes: int = 0  # by which that made the text longer
    separator_bytes: int = 0  # blank lines, outer white space, JSON and CSV framing
    other_column_bytes: int = 0  # of text files' rows: what stands in the other columns or keys
    beyond_limit_bytes: int = 0  # read together with the last document that max_bytes allows


class Source(ABC):
    """Documents in a fixed order, and what was counted while they were read."""

    skipped: tuple[Path, ...] = ()  # paths beside the files that are read

    def __init__(self, name: str, options: SourceOptions, limits: Limits) -> None:
        self.name = _plain_name(name)  # also the default name of the folder
        self.counts = SourceCounts()
        self._options = options
        self._limits = limits

    def documents(self) -> Iterator[bytes]:
        """The stripped text of each document, in UTF-8; sets the counts to zero first.

        Each has at most max_document_bytes. Raises DataError where something cannot be read, and
        where there is no document at all.
        """
        vars(self.counts).update(asdict(SourceCounts()))
        yield from self._count_documents(self._options.max_bytes or sys.maxsize)
        if self.counts.documents == 0:
            raise DataError(f"no document in {self.name}", hint="name files that hold some text")

    def _count_documents(self, max_bytes: int) -> Iterator[bytes]:
        counts = self.counts
        was_cut = False
        for group in self._groups():
            counts.bytes_read += group.input_bytes
            counts.broken_lines += group.broken_lines
            counts.broken_bytes += group.broken_bytes
            counts.broken_characters += group.broken_characters
            counts.replacement_bytes += group.replacement_bytes
            sizes = [len(text) for text in group.texts]
            counts.empty_documents += sizes.count(0)
            new_sizes = sizes[1:] if was_cut else sizes  # the first text continues a cut document
            counts.split_documents += sum(
                size > self._limits.max_document_bytes for size in new_sizes
            )
            if group.is_cut and not was_cut:
                counts.split_documents += 1
            remaining = max_bytes - counts.text_bytes
            documents, beyond = self._split_long(group.texts, sizes, remaining)
            text_bytes = sum(map(len, documents))
            counts.documents += len(documents)
            counts.text_bytes += text_bytes
            counts.other_column_bytes += group.other_bytes
            counts.beyond_limit_bytes += beyond
            counts.separator_bytes += group.input_bytes + group.replacement_bytes
            counts.separator_bytes -= text_bytes + group.other_bytes + beyond
            yield from documents
            if sum(sizes) >= remaining:
                return
            was_cut = group.is_cut

    def _split_long(
        self, texts: list[bytes], sizes: list[int], max_bytes: int
    ) -> tuple[list[bytes], int]:
        """(texts cut to max_document_bytes, bytes beyond max_bytes); empty ones are left out."""
        longest = self._limits.max_document_bytes
        if all(sizes) and max(sizes, default=0) <= longest and sum(sizes) <= max_bytes:
            return texts, 0
        documents, beyond = [], 0
        for text in texts:
            rest = text
            while rest and max_bytes > 0:
                limit = min(longest, max_bytes)
                position = cut_position(rest, limit)
                if document := strip_text(rest[:position]):
                    documents.append(document)
                max_bytes -= limit if position < len(rest) else len(document)
                rest = rest[position:]
            beyond += len(rest)
        return documents, beyond

    def fingerprint(self) -> str:
        """SHA-256 of the files or the dataset, and of the options that alter the documents."""
        options = asdict(self._options)
        options["column"] = self._options.text_column
        options["split"] = self._options.split or DEFAULT_SPLIT
        del options["sources"]  # _identity() says it: "a.txt" and "./a.txt" are the same
        return hashlib.sha256(json.dumps([options, self._identity()]).encode()).hexdigest()

    @abstractmethod
    def total_bytes(self) -> int | None:
        """The last value of counts.disk_bytes_read; None if it is not known."""

    @abstractmethod
    def _groups(self) -> Iterator[DocumentGroup]: ...

    @abstractmethod
    def _identity(self) -> object:
        """What this source is, and the version of its content; it is written as JSON."""


class FileSource(Source):
    """Files, one after the other."""

    def __init__(self, options: SourceOptions, limits: Limits = DEFAULT_LIMITS) -> None:
        dataset_folders = []

        def choose(folder: Path) -> list[Path] | None:
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


def _refuse(options: SourceOptions, names: Sequence[str], reason: str) -> None:
    """Raise DataError for one of these options that was given."""
    for name in names:
        if getattr(options, name) not in (None, False):
            flag = f"--{name.replace('_', '-')}"
            raise DataError(f"{flag} has nothing to act on: {reason}", hint=f"leave out {flag}")


def _is_plain(path: Path) -> bool:
    ending = ending_of(path)
    return ending is not None and ending[0] in PLAIN_ENDINGS


def _plain_name(name: str) -> str:
    """The name without characters that are unsafe in a folder's name or on a terminal."""
    shown = "".join(character if character.isprintable() else "_" for character in name)
    return shown.lstrip(".") or "text"
