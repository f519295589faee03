"""Text input, safely: decompress, cut into lines, check the UTF-8, and count every byte.

For the formats in formats.py. Text stays bytes, which is what files hold and the encoder takes.
Memory is bounded by `Limits`, not by the size of a file or of a line.
"""

import codecs
import io
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from electra_cli.errors import DataError
from electra_cli.preparing.decompress import DAMAGED, decompress
from electra_cli.preparing.encodings import conversion_command, conversion_hint, find_encoding

HEAD_BYTES = 64 << 10  # of a file, which show whether it is text or binary
MAX_STRANGE_FRACTION = 0.3  # Latin-1 text has fewer such characters, machine code and UTF-16 more
CUT_WINDOW_BYTES = 64 << 10  # how far back a cut looks for white space

_REPLACE_HINT = "; or add --replace-broken: broken text becomes U+FFFD and is counted"
_BROKEN = re.compile("[\0\ud800-\udfff]")  # what UTF-8 cannot hold, and what no tokenizer expects
# Bytes of white space that bytes.strip leaves: U+001C to U+001F, and of characters beyond ASCII.
_MAYBE_SPACE = bytes((*range(0x1C, 0x20), *range(0x80, 0x100)))
# Marks of the byte order of UTF-16 and UTF-32, and what shifts ISO 2022 to Japanese.
_OTHER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_SHIFT = b"\x1b$"
_COMPRESSED_MARKS = {b"\x1f\x8b": ".gz", b"\xfd7zXZ\0": ".xz", b"\x28\xb5\x2f\xfd": ".zst"}
# Formats of which a beginning, or all, may look like plain text, and what to do then.
_CONVERT = "unpack it, or convert it to plain text"
_OTHER_FORMATS = {
    b"PK\x03\x04": ("a zip archive, as .docx, .xlsx and .epub files are", _CONVERT),
    b"%PDF-": ("a PDF", _CONVERT),
    b"{\\rtf": ("RTF", _CONVERT),
    b"version https://git-lfs": ("a pointer of Git LFS, not the file itself", "git lfs pull"),
}
_STRANGE = re.compile("[\0-\x08\x0e-\x1a\x1c-\x1f\x7f\ufffd]")


@dataclass(frozen=True)
class Limits:
    """What bounds the memory that reading takes."""

    chunk_bytes: int = 1 << 20  # of plain text, searched for blank lines at a time
    max_document_bytes: int = 16 << 20  # a longer document is cut into several
    max_record_bytes: int = 256 << 20  # an error if longer: the end is probably missing


DEFAULT_LIMITS = Limits()

# Words of a decoder's error about a file that may be whole, and what to do then.
_OTHER_LIMITS = {
    "memory": "it takes more memory than is free: decompress it first",
    "dictionary": "it was compressed with a dictionary: decompress it first, with zstd -D",
    "notimplemented": "write it again without the feature that is named",
}


class DocumentGroup(NamedTuple):
    """Some documents of a file, and what was read for them."""

    texts: list[bytes]  # stripped, UTF-8
    input_bytes: int = 0  # decompressed, with the separators among and around the documents
    disk_position: int = 0  # bytes of the file on disk that were read so far
    broken_lines: int = 0  # lines or rows in which something was replaced
    replacement_bytes: int = 0  # by which that made the text longer
    is_cut: bool = False  # the last document goes on in the next group
    other_bytes: int = 0  # of the rows' other columns
    broken_bytes: int = 0  # that were replaced
    broken_characters: int = 0  # U+FFFD in their place


class InputChecker:
    """Checks the UTF-8 of a file or dataset, and counts what it checked.

    Broken text is an error, or is replaced by U+FFFD. NUL counts as broken. The counts go into
    the next group that `make_group` makes.
    """

    def __init__(
        self,
        name: str,
        unit: str,
        replace_broken: bool | None,
        find_conversion: Callable[[bytes], str | None] = lambda broken: None,
    ) -> None:
        """`unit` is what is numbered: "line" or "row"; `replace_broken` None: that is no choice.

        `find_conversion` says how to convert the whole source, if that can mend these bytes.
        """
        self._name = name
        self._unit = unit
        self._find_conversion = find_conversion
        self._replace_broken = replace_broken
        self._last_broken = 0
        self._input_bytes = 0
        self._broken_lines = 0
        self._replacement_bytes = 0
        self._broken_bytes = 0
        self._broken_characters = 0

    def check(self, raw: bytes, number: int) -> bytes:
        """The text of lines or a row, the first of them with this number.

        Raises DataError that names the broken one, unless broken text is to be replaced.
        """
        self._input_bytes += len(raw)
        if b"\0" in raw or not _is_utf8(raw):
            return self._replace_broken_bytes(raw, number)
        return raw

    def repair(self, text: str, number: int) -> str:
        """Text without NUL and lone surrogates, which JSON can also spell as escapes."""
        if text.isascii() and "\0" not in text:
            return text
        if found := _BROKEN.findall(text):
            what = "a NUL" if found[0] == "\0" else "half a character"
            self._count_broken(number, f"{what} (U+{ord(found[0]):04X})")
            size = len("".join(found).encode("utf-8", "surrogatepass"))
            self._broken_bytes += size
            self._broken_characters += len(found)
        return _BROKEN.sub("\ufffd", text)

    def make_group(
        self,
        texts: list[bytes],
        disk_position: int,
        is_cut: bool = False,
        other_bytes: int = 0,
    ) -> DocumentGroup:
        """These documents, with the counts of all that was checked since the last group."""
        counts = (self._input_bytes, disk_position, self._broken_lines, self._replacement_bytes)
        self._input_bytes = self._broken_lines = self._replacement_bytes = 0
        broken = (self._broken_bytes, self._broken_characters)
        self._broken_bytes = self._broken_characters = 0
        return DocumentGroup(texts, *counts, is_cut, other_bytes, *broken)

    def _replace_broken_bytes(self, raw: bytes, number: int) -> bytes:
        lines = []
        for at, line in enumerate(io.BytesIO(raw), start=number):
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                self._count_broken(at, f"broken UTF-8 (byte 0x{line[error.start]:02x})", raw)
                text = line.decode("utf-8", errors="replace")
                num_replaced = text.count("\ufffd") - line.count("\ufffd".encode())
                size = len(line) - len(text.encode()) + num_replaced * len("\ufffd".encode())
                self._broken_bytes += size
                self._broken_characters += num_replaced
            lines.append(self.repair(text, at).encode())
            self._replacement_bytes += len(lines[-1]) - len(line)
        return b"".join(lines)

    def _count_broken(self, number: int, what: str, broken: bytes = b"") -> None:
        """Count a line once. Raises DataError unless broken text is to be replaced."""
        if not self._replace_broken:
            conversion = self._find_conversion(broken) if broken else None
            raise DataError(
                f"{self._name}, {self._unit} {number}: {what}",
                hint=(conversion or "correct it")
                + (_REPLACE_HINT if self._replace_broken is not None else ""),
            )
        if number != self._last_broken:
            self._broken_lines += 1
        self._last_broken = number


def check_lines_of(path: Path, compression: str, replace_broken: bool | None) -> InputChecker:
    """The checker of a text file."""
    return InputChecker(
        str(path), "line", replace_broken, lambda bad: conversion_hint(path, compression, bad)
    )


@contextmanager
def open_text(path: Path, compression: str) -> Iterator[tuple[io.BufferedReader, io.FileIO]]:
    """(decompressed stream, file on disk), once the file's head has shown that it is text.

    Raises DataError for a binary or unreadable file; for a damaged one, also while it is read.
    """
    try:
        with path.open("rb", buffering=0) as raw:
            stream: io.BufferedReader = io.BufferedReader(decompress(raw, compression), HEAD_BYTES)
            _check_head(path, compression, stream.peek(HEAD_BYTES)[:HEAD_BYTES])
            yield stream, raw
    except (OSError, MemoryError, *DAMAGED) as error:
        raise unreadable(path, error) from None


def read_lines(stream: BinaryIO, path: Path, max_bytes: int) -> Iterator[tuple[int, bytes]]:
    """(number, line with its end). Raises DataError for a line of `max_bytes` or more."""
    for number, line in enumerate(iter(lambda: stream.readline(max_bytes), b""), start=1):
        if len(line) == max_bytes:
            raise DataError(
                f"{path}, line {number}: longer than {max_bytes >> 20} MB",
                hint="give every document a line of its own",
            )
        yield number, line


def cut_position(data: bytes | bytearray, limit: int) -> int:
    """Where to cut so that at most `limit` bytes come first.

    At the last line end within CUT_WINDOW_BYTES, else at other white space, else between two
    characters.
    """
    if len(data) <= limit:
        return len(data)
    start = max(0, limit - CUT_WINDOW_BYTES)
    for marks in ((b"\n",), (b" ", b"\t", b"\r")):
        found = max(data.rfind(mark, start, limit + 1) for mark in marks)
        if found >= 0:
            return min(found + 1, limit)
    # Bytes 10xxxxxx continue a character; in UTF-8 three of them at most.
    back = next((back for back in range(4) if data[limit - back] & 0xC0 != 0x80), 0)
    return max(limit - back, 0)


def strip_text(text: bytes) -> bytes:
    """str.strip for UTF-8."""
    stripped = text.strip()
    if stripped and (stripped[0] in _MAYBE_SPACE or stripped[-1] in _MAYBE_SPACE):
        return stripped.decode().strip().encode()
    return stripped


def _is_utf8(raw: bytes) -> bool:
    if raw.isascii():
        return True
    import pyarrow as pa

    # Arrow takes a sixth of the time of bytes.decode, which also builds a str.
    offsets = pa.py_buffer(struct.pack("=ii", 0, len(raw)))
    text = pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(raw)])
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def unreadable(path: Path, error: Exception) -> DataError:
    """The DataError for an exception that was raised while a file was read."""
    # Errors of the operating system have a number; the others are about the content.
    if isinstance(error, OSError) and error.errno is not None:
        return DataError(
            f"{path} cannot be read: {error.strerror}",
            hint="check that it is still there, and that you may read it",
        )
    for sign, hint in _OTHER_LIMITS.items():
        if sign in f"{type(error).__name__} {error}".lower():
            return DataError(f"{path} cannot be read here: {error}", hint=hint)
    with suppress(OSError), path.open("rb") as file:
        if (other := _other_format(path, file.read(HEAD_BYTES))) is not None:
            return other
    return DataError(
        f"{path} is damaged, or not what its ending says: {error}",
        hint="copy or download it again, or rename it if its ending is wrong",
    )


def _other_format(path: Path, head: bytes) -> DataError | None:
    """What to say of a file whose first bytes are those of another format."""
    for mark, (kind, hint) in _OTHER_FORMATS.items():
        if head.startswith(mark):
            return DataError(f"{path} is {kind}", hint=hint)
    return None


def _check_head(path: Path, compression: str, head: bytes) -> None:
    """Raise DataError for bytes that are no text in UTF-8."""
    text = head.decode("utf-8", errors="replace")
    for mark, ending in _COMPRESSED_MARKS.items():
        if head.startswith(mark):
            raise DataError(
                f"{path} is compressed, as {ending} files are", hint=f"rename it: NAME.txt{ending}"
            )
    if (other := _other_format(path, head)) is not None:
        raise other
    is_strange = len(_STRANGE.findall(text)) > MAX_STRANGE_FRACTION * len(text)
    if not is_strange and not head.startswith(_OTHER_MARKS) and _SHIFT not in head:
        return
    if encoding := find_encoding(head):
        is_marked = head.startswith(_OTHER_MARKS)
        raise DataError(
            f"{path} {'is' if is_marked else 'seems to be'} {encoding}, not UTF-8",
            hint=conversion_command(path, compression, encoding),
        )
    if is_strange:
        raise DataError(f"{path} is a binary file", hint="leave it out, or convert it to text")
