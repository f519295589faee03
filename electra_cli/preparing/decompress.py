"""Decompressed bytes of a .gz, .xz or .zst file, as the tools of these formats read them.

Several streams in one file are read one after the other, and a damaged or cut one is an error.
"""

import gzip
import io
import lzma
import sys
import zlib
from typing import TYPE_CHECKING, cast

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from typing_extensions import Buffer  # of the standard library from Python 3.12 on

DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zstd.ZstdError)
# The command that writes the decompressed bytes of a file to its output.
COMMANDS = {".gz": "gzip -dc", ".xz": "xz -dc", ".zst": "zstd -dc --long=31"}

_READ_BYTES = 64 << 10
# Windows of 2 GB, those of `zstd --ultra --long=31`, in which large corpora are published. Such a
# file takes as much memory.
_ZSTD_OPTIONS = {int(zstd.DecompressionParameter.window_log_max): 31}


def decompress(raw: io.FileIO, compression: str) -> io.RawIOBase:
    """A stream of the decompressed bytes; without compression `raw` itself.

    Reading it raises one of DAMAGED, or OSError.
    """
    # All of these have readinto(), which is all that BufferedReader needs.
    if compression == ".gz":
        return cast(io.RawIOBase, gzip.GzipFile(fileobj=raw))
    if compression == ".xz":
        return _XzReader(raw)
    if compression == ".zst":
        return cast(io.RawIOBase, zstd.ZstdFile(raw, options=_ZSTD_OPTIONS))
    return raw


class _XzReader(io.RawIOBase):
    """lzma.LZMAFile, but a damaged stream after a good one is an error; LZMAFile skips it."""

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw
        self._decompressor = lzma.LZMADecompressor()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "Buffer", /) -> int:
        view = memoryview(buffer)
        while True:
            compressed = b""
            if self._decompressor.eof:  # of one stream; `xz -T` and `cat` make several
                compressed = self._next_stream(self._decompressor.unused_data)
                if not compressed:
                    return 0
                self._decompressor = lzma.LZMADecompressor()
            elif self._decompressor.needs_input:
                compressed = self._raw.read(_READ_BYTES)
                if not compressed:
                    raise EOFError("it ends in the middle")
            data = self._decompressor.decompress(compressed, len(view))
            if data:
                view[: len(data)] = data
                return len(data)

    def _next_stream(self, unused: bytes) -> bytes:
        """The first bytes of the next stream, without the zeros that may pad the one before."""
        padding = 0
        read = unused or self._raw.read(_READ_BYTES)
        while read:
            rest = read.lstrip(b"\0")
            padding += len(read) - len(rest)
            if rest:
                break
            read = self._raw.read(_READ_BYTES)
        if padding % 4:  # the format allows multiples of four bytes
            raise lzma.LZMAError(f"{padding} bytes of padding follow a stream")
        return rest if read else b""
