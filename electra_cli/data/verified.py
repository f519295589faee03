"""Compare shards with their checksums once, and again when a file has changed.

Hashing takes a second per GB and core, at each start, dry run, resume and process of a search; on
a network disk minutes. So what was compared is remembered in the user's cache folder, where it
also serves data that this user may only read.
"""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

from electra_cli.data.manifest import ShardManifest, ShardRecord
from electra_cli.data.shards import find_shard, verify_shards
from electra_cli.disk import cache_folder, write_bytes_atomically

# A file's size, two times in nanoseconds and its number on the disk, and the checksum that it had.
Signature = list[int | str]


def verify_changed_shards(directory: Path, manifest: ShardManifest, read_all: bool = False) -> None:
    """verify_shards for those that changed since they were last compared; for all with `read_all`.

    Damage on the disk changes no time of a file: only `read_all` finds it.
    """
    memory = _memory_of(directory)
    known = {} if read_all else _load(memory)
    # Before the files are read, so that a change meanwhile is noticed the next time.
    found = {shard.name: _signature(directory, shard) for shard in manifest.shards}
    changed = [shard for shard in manifest.shards if known.get(shard.name) != found[shard.name]]
    verify_shards(directory, changed)
    if changed:
        with suppress(OSError):  # no place to remember: the next start compares again
            memory.parent.mkdir(parents=True, exist_ok=True)
            write_bytes_atomically(memory, json.dumps(found).encode())


def _signature(directory: Path, shard: ShardRecord) -> Signature:
    # A program can set a file's modification time, but not the time of its last change (ctime).
    about = find_shard(directory, shard).stat()
    return [about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino, shard.sha256]


def _memory_of(directory: Path) -> Path:
    """The file in the user's cache that remembers a folder of shards."""
    name = hashlib.sha256(os.fsencode(directory.resolve())).hexdigest()
    return cache_folder() / "verified" / f"{name}.json"


def _load(path: Path) -> dict[str, Signature]:
    """What is remembered; nothing if the file is missing or damaged."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
