"""What every source of documents does: cut them to size, and count every byte."""

import hashlib
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from electra_cli.errors import DataError
from electra_cli.preparing.dataset_folders import DEFAULT_SPLIT
from electra_cli.preparing.raw_text import DocumentGroup, Limits, cut_position, strip_text


@dataclass(frozen=True)
class SourceOptions:
    """What `electra prepare` reads."""

    sources: tuple[str, ...] = ()  # empty: the built-in corpus
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


def _plain_name(name: str) -> str:
    """The name without characters that are unsafe in a folder's name or on a terminal."""
    shown = "".join(character if character.isprintable() else "_" for character in name)
    return shown.lstrip(".") or "text"
