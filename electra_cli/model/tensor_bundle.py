"""Read TensorFlow's checkpoint files (PREFIX.index, PREFIX.data-*) without TensorFlow.

The index is a table as LevelDB writes them, of BundleEntryProto messages by name; the data files
hold the tensors' bytes (tensorflow/core/util/tensor_bundle, tensorflow/core/lib/io/format.cc).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from electra_cli.errors import RunError

_FOOTER_BYTES = 48
_MAGIC = 0xDB4775248B80FB57
_TRAILER_BYTES = 5  # of a block: how it is compressed, and its checksum
_DTYPES = {1: np.float32, 3: np.int32, 9: np.int64}  # DT_FLOAT, DT_INT32, DT_INT64
_MASK_DELTA = 0xA282EAD8


class _DamagedError(Exception):
    """What is wrong with an index."""


@dataclass(frozen=True)
class _Entry:
    """Where a tensor is."""

    dtype: int = 0
    shape: tuple[int, ...] = ()
    shard: int = 0
    offset: int = 0
    size: int = 0


def find_bundle(folder: Path) -> Path | None:
    """The prefix of the checkpoint in a folder; None if it holds no index.

    Of several the one that the file `checkpoint` names. Raises RunError if that is not there.
    """
    found = sorted(path.with_suffix("") for path in folder.glob("*.index"))
    state = folder / "checkpoint"
    if not found:
        return None
    if state.is_file():
        for line in state.read_text("utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key == "model_checkpoint_path":
                prefix = folder / Path(value.strip().strip('"')).name
                if prefix in found:
                    return prefix
    if len(found) > 1:
        raise RunError(
            f"{folder} holds several checkpoints: {', '.join(path.name for path in found)}",
            hint="leave one of them in the folder, or its file `checkpoint` that names one",
        )
    return found[0]


def read_bundle(prefix: Path) -> dict[str, Tensor]:
    """The float32 tensors of a checkpoint by name. Raises RunError for damaged or foreign files."""
    index = prefix.with_name(f"{prefix.name}.index")
    try:
        items = dict(_read_table(index.read_bytes()))
        num_shards = _header_shards(items.pop(b"", b""))
        entries = {key.decode(): _entry(value) for key, value in items.items()}
    except (_DamagedError, IndexError, struct.error, ValueError, OSError) as error:
        raise _damaged(index, str(error)) from None
    files = {}
    for shard in {entry.shard for entry in entries.values()}:
        path = prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{num_shards:05d}")
        try:
            files[shard] = np.memmap(path, mode="r")
        except (OSError, ValueError) as error:
            raise _damaged(path, getattr(error, "strerror", None) or str(error)) from None
        end = max(each.offset + each.size for each in entries.values() if each.shard == shard)
        if len(files[shard]) < end:
            raise _damaged(path, f"it has {len(files[shard]):,} bytes, its index {end:,}")
    tensors = {}
    for name, entry in entries.items():
        if _DTYPES.get(entry.dtype) is not np.float32:
            continue  # such as global_step
        raw = files[entry.shard][entry.offset : entry.offset + entry.size]
        if entry.size != 4 * int(np.prod(entry.shape)):
            raise _damaged(index, f"{name} has {entry.size} bytes for the shape {entry.shape}")
        tensors[name] = torch.from_numpy(np.array(raw).view("<f4").reshape(entry.shape))
    return tensors


def _damaged(path: Path, reason: str) -> RunError:
    return RunError(
        f"{path} is no whole TensorFlow checkpoint: {reason}",
        hint="copy the checkpoint again: PREFIX.index and all of PREFIX.data-*",
    )


def _read_table(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a table."""
    if len(content) < _FOOTER_BYTES or struct.unpack("<Q", content[-8:])[0] != _MAGIC:
        raise _DamagedError("it does not end as an index does")
    footer = content[-_FOOTER_BYTES:]
    place = 0
    for _ in range(2):  # the handle of the metaindex, which is empty
        _, place = _varint(footer, place)
    offset, place = _varint(footer, place)
    size, _ = _varint(footer, place)
    for _, handle in _read_block(content, offset, size):
        offset, place = _varint(handle, 0)
        size, _ = _varint(handle, place)
        yield from _read_block(content, offset, size)


def _read_block(content: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Entries of a block: each key is written from where it differs from the one before."""
    end = offset + size
    if end + _TRAILER_BYTES > len(content):
        raise _DamagedError("it is cut off")
    compression, checksum = struct.unpack("<BI", content[end : end + _TRAILER_BYTES])
    if _masked_crc(content[offset : end + 1]) != checksum:
        raise _DamagedError("its checksum is wrong")
    if compression:
        raise _DamagedError("it is compressed, which TensorFlow's own writer does not do")
    block = content[offset:end]
    (num_restarts,) = struct.unpack("<I", block[-4:])
    stop, place, key = size - 4 * (num_restarts + 1), 0, b""
    while place < stop:
        shared, place = _varint(block, place)
        own, place = _varint(block, place)
        length, place = _varint(block, place)
        key = key[:shared] + block[place : place + own]
        place += own
        yield key, block[place : place + length]
        place += length


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A number of 7 bits per byte, and the place after it."""
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers and values of a protocol buffer's fields."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        kind = tag & 7
        if kind == 0:
            number, place = _varint(message, place)
            yield tag >> 3, number
            continue
        length = {1: 8, 5: 4}.get(kind)
        if kind == 2:
            length, place = _varint(message, place)
        if length is None:
            raise _DamagedError("it holds a message of another kind")
        yield tag >> 3, message[place : place + length]
        place += length


def _header_shards(message: bytes) -> int:
    """The number of data files, by BundleHeaderProto."""
    fields = dict(_fields(message))
    if not isinstance(shards := fields.get(1), int) or fields.get(2, 0) != 0:
        raise _DamagedError("it names no data files, or was written on a big-endian machine")
    return shards


def _entry(message: bytes) -> _Entry:
    """A BundleEntryProto."""
    values: dict[int, int] = {}
    shape: list[int] = []
    for number, value in _fields(message):
        if number == 7:
            raise _DamagedError("it holds a tensor in slices")
        if number == 2 and isinstance(value, bytes):
            for dimension, content in _fields(value):
                if dimension == 2 and isinstance(content, bytes):
                    size = dict(_fields(content)).get(1, 0)
                    shape.append(size if isinstance(size, int) else 0)
        elif isinstance(value, int):
            values[number] = value
    return _Entry(values.get(1, 0), tuple(shape), *(values.get(field, 0) for field in (3, 4, 5)))


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


_CRC_TABLE = _crc_table()


def _masked_crc(data: bytes) -> int:
    """CRC-32C as LevelDB stores it; of an index alone, whose kilobytes Python can go through."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF
