"""Where documents come from: files, a Hugging Face dataset, or the built-in corpus.

Hands out stripped documents and counts them. What is inside a file is readers.py's work, tokens
are tokenizer.py's. The only module that imports `datasets`.
"""

import hashlib
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from electra_cli.errors import DataError
from electra_cli.preparing import builtin
from electra_cli.preparing.formats import check_file, no_column, not_text, read_records
from electra_cli.preparing.paths import closest_path, find_files, looks_like_path, name_of
from electra_cli.preparing.raw_text import (
    MAX_DOCUMENT_BYTES,
    Record,
    Utf8Checker,
    cut_position,
    strip_text,
)

BUILTIN_NAME = "python-docs"
FILES_CHECKED_AT_ONCE = 100  # their heads are looked at before work begins; those of more, later
HUB_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class SourceOptions:
    """What `electra prepare` is asked to read."""

    sources: tuple[str, ...]  # empty: the built-in corpus
    column: str = "text"
    subset: str | None = None
    split: str = "train"
    max_bytes: int | None = None  # stop after so many bytes (UTF-8) of document text
    replace_broken: bool = False


@dataclass
class SourceCounts:
    """Filled while documents() runs; complete when it ends.

    Every byte is accounted for: bytes_read + replacement_bytes == text_bytes + separator_bytes.
    Where max_bytes stopped the reading, the separators hold the rest of the last document.
    """

    files: int = 0
    bytes_read: int = 0  # decompressed; of tables and datasets the text column only
    disk_bytes_read: int = 0  # how far total_bytes() has come
    documents: int = 0
    text_bytes: int = 0  # UTF-8, of the documents handed out
    empty_documents: int = 0  # dropped: nothing but white space
    split_documents: int = 0  # longer than MAX_DOCUMENT_BYTES, so handed out as several
    broken_lines: int = 0  # lines or rows in which U+FFFD took the place of broken text
    replacement_bytes: int = 0  # by which that made the text longer
    separator_bytes: int = 0  # blank lines, outer white space, JSON and CSV framing


class Source(ABC):
    """Documents in a fixed order, and what was counted while they were read."""

    passed_over: tuple[Path, ...] = ()  # files and links beside those that are read

    def __init__(self, name: str, options: SourceOptions) -> None:
        self.name = _plain_name(name)  # for a folder of its own
        self.counts = SourceCounts()
        self._options = options

    def documents(self) -> Iterator[bytes]:
        """The stripped text of each document, in UTF-8; the counts begin again with it.

        MAX_DOCUMENT_BYTES each at most. Raises DataError where something cannot be read, and where
        there is no document at all.
        """
        vars(self.counts).update(asdict(SourceCounts()))
        yield from self._counted(self._options.max_bytes or sys.maxsize)
        if self.counts.documents == 0:
            raise DataError(f"no document in {self.name}", hint="name files that hold some text")

    def _counted(self, max_bytes: int) -> Iterator[bytes]:
        counts = self.counts
        was_cut = False
        for record in self._records():
            counts.bytes_read += record.input_bytes
            counts.broken_lines += record.broken_lines
            counts.replacement_bytes += record.replacement_bytes
            counts.separator_bytes += record.input_bytes + record.replacement_bytes
            counts.split_documents += record.is_cut and not was_cut
            sizes = [len(text) for text in record.texts]
            counts.split_documents += sum(size > MAX_DOCUMENT_BYTES for size in sizes[was_cut:])
            counts.empty_documents += sizes.count(0)
            remaining = max_bytes - counts.text_bytes
            portions = _portions(record.texts, sizes, remaining)
            text_bytes = sum(map(len, portions))
            counts.documents += len(portions)
            counts.text_bytes += text_bytes
            counts.separator_bytes -= text_bytes
            yield from portions
            if sum(sizes) >= remaining:
                return
            was_cut = record.is_cut

    def fingerprint(self) -> str:
        """Changes with the files or the dataset, and with options that alter the documents."""
        options = asdict(self._options)
        del options["sources"]  # they count by what they mean: "a.txt" and "./a.txt" are the same
        return hashlib.sha256(json.dumps([options, self._identity()]).encode()).hexdigest()

    @abstractmethod
    def total_bytes(self) -> int | None:
        """What counts.disk_bytes_read comes to in the end; None if that is not known."""

    @abstractmethod
    def _records(self) -> Iterator[Record]: ...

    @abstractmethod
    def _identity(self) -> object:
        """What this source is, and a version of its content; goes into JSON."""


class FileSource(Source):
    """Files, one after the other."""

    def __init__(self, options: SourceOptions) -> None:
        self._files, passed_over = find_files(options.sources)
        super().__init__(name_of(options.sources, self._files), options)
        self.passed_over = tuple(passed_over)
        for path in self._files[:FILES_CHECKED_AT_ONCE]:
            check_file(path, options.column, options.replace_broken)

    def total_bytes(self) -> int:
        """Size of the files as they are on disk."""
        return sum(path.stat().st_size for path in self._files)

    def _records(self) -> Iterator[Record]:
        for path in self._files:
            self.counts.files += 1
            before = self.counts.disk_bytes_read
            for record in read_records(path, self._options.column, self._options.replace_broken):
                self.counts.disk_bytes_read = before + record.disk_position
                yield record

    def _identity(self) -> object:
        found = [(path, path.stat()) for path in self._files]
        return [[str(path.resolve()), stat.st_size, stat.st_mtime_ns] for path, stat in found]


class BuiltinSource(Source):
    """The Python documentation installed on this machine."""

    def __init__(self, options: SourceOptions) -> None:
        super().__init__(BUILTIN_NAME, options)

    def total_bytes(self) -> int | None:
        """Size of the corpus; not known before it was made for the first time."""
        return builtin.builtin_bytes()

    def _records(self) -> Iterator[Record]:
        for document in builtin.builtin_documents():
            text = document.encode()
            self.counts.disk_bytes_read += len(text)
            yield Record([strip_text(text)], input_bytes=len(text))

    def _identity(self) -> object:
        return builtin.builtin_fingerprint()


class HubSource(Source):
    """A dataset of the Hugging Face Hub, streamed: nothing is downloaded ahead."""

    def __init__(self, options: SourceOptions) -> None:
        (self._id,) = options.sources
        super().__init__(self._id.rpartition("/")[2], options)
        self._revision = _hub_revision(self._id)
        self._rows = self._load()
        next(self._records(), None)  # so that a missing column shows at once

    def total_bytes(self) -> None:
        """Not known: what is streamed is not measured first."""

    def _load(self) -> Iterable[dict[str, Any]]:
        import datasets

        datasets.disable_progress_bars()
        try:
            rows: Iterable[dict[str, Any]] = datasets.load_dataset(
                self._id,
                self._options.subset,
                split=self._options.split,
                streaming=True,
                revision=self._revision,
            )
        # ValueError: no such subset or split, with a list of those there are.
        # RuntimeError: the dataset is a script, which nobody runs any more.
        except (ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            raise DataError(
                f"dataset {self._id}: {_one_line(error)}",
                hint="choose with --subset and --split; a gated dataset needs: hf auth login",
            ) from None
        except _network_errors() as error:
            raise self._broken_off(error) from None
        return rows

    def _records(self) -> Iterator[Record]:
        import datasets

        column = self._options.column
        checker = Utf8Checker(self._id, "row", self._options.replace_broken)
        try:
            for number, row in enumerate(self._rows, start=1):
                if column not in row:
                    raise no_column(self._id, column, row)
                value = row[column]
                if value is not None and not isinstance(value, str):
                    raise not_text(self._id, column, type(value).__name__)
                text = checker.repair(value or "", number).encode()
                yield checker.record([strip_text(text)], 0)._replace(input_bytes=len(text))
        except (*_network_errors(), datasets.exceptions.DatasetsError) as error:
            raise self._broken_off(error) from None

    def _broken_off(self, error: Exception) -> DataError:
        return DataError(
            f"dataset {self._id} broke off: {_one_line(error)}",
            hint="check the network and try again, or download it and name its files",
        )

    def _identity(self) -> object:
        return [self._id, self._revision]


def open_source(options: SourceOptions) -> Source:
    """The source that the arguments mean.

    Raises DataError at once for whatever names, sizes and the beginnings of files can show.
    """
    if not options.sources:
        return BuiltinSource(options)
    try:
        if len(options.sources) == 1 and not looks_like_path(options.sources[0]):
            return HubSource(options)
        return FileSource(options)
    except OSError as error:
        where = error.filename or options.sources[0]
        raise DataError(
            f"{where} cannot be read: {error.strerror or error}",
            hint="check the name, and that it is yours to read",
        ) from None


def _plain_name(name: str) -> str:
    """A name that is safe for a folder and on a terminal, whatever a file is called."""
    shown = "".join(character if character.isprintable() else "_" for character in name)
    return shown.lstrip(".") or "text"


def _portions(texts: list[bytes], sizes: list[int], max_bytes: int) -> list[bytes]:
    """Documents in parts of MAX_DOCUMENT_BYTES; what is beyond max_bytes is left out."""
    if all(sizes) and max(sizes, default=0) <= MAX_DOCUMENT_BYTES and sum(sizes) <= max_bytes:
        return texts
    portions = []
    for text in texts:
        rest = text
        while rest and max_bytes > 0:
            limit = min(MAX_DOCUMENT_BYTES, max_bytes)
            position = cut_position(rest, limit)
            if portion := strip_text(rest[:position]):
                portions.append(portion)
            max_bytes -= limit if position < len(rest) else len(portion)
            rest = rest[position:]
    return portions


def _hub_revision(dataset_id: str) -> str:
    """The commit that is to be read.

    Asked for by itself, since load_dataset tries for half a minute where there is no network.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    try:
        return HfApi().dataset_info(dataset_id, timeout=HUB_TIMEOUT_SECONDS).sha or "main"
    except (RepositoryNotFoundError, HFValidationError):
        problem = f"neither a file nor a dataset of the Hugging Face Hub is called {dataset_id}"
        hint = "check the name; a private dataset needs: hf auth login"
    except _network_errors() as error:
        problem = f"no file is called {dataset_id}, and the Hugging Face Hub cannot be reached"
        problem += f" ({_one_line(error)})"
        hint = "name a file, or try again with a network"
    close = closest_path(Path(dataset_id))
    raise DataError(problem, hint=f"did you mean {close}?" if close else hint)


def _network_errors() -> tuple[type[Exception], ...]:
    """What a network or a server may raise through huggingface_hub."""
    # The module for HTTP, whichever it is; huggingface_hub promises this name for it.
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    return OSError, httpx.HTTPError


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
