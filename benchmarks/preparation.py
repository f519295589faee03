"""`electra prepare` against the usual datasets.map pipeline and against its bare encoder.

    python -m benchmarks.preparation [--text FILE...] [--repetitions 3]

Whole processes, from a .txt file to finished folders on the disk, with the same ready tokenizer.
The same on a text of 1 GB, the documents of the first one several times, each time with a
running number, because with a small text most of the time is the start of a process.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, repeat
from pathlib import Path

import numpy as np
from datasets import load_from_disk
from nanotoken import Tokenizer as FastEngine

from benchmarks.processes import electra, read_files, run
from benchmarks.turns import Spread, report, take_turns
from electra_cli.data.manifest import load_manifest
from electra_cli.data.shards import open_shards
from electra_cli.data.tokenizer import load_tokenizer
from electra_cli.preparing.chunks import group_texts
from electra_cli.preparing.encoder import TextEncoder
from electra_cli.preparing.rounds import MIN_DOCUMENT_TOKENS
from electra_cli.preparing.source import SourceOptions
from electra_cli.preparing.sources import open_source

VOCAB_SIZE = 30_522
LONG_BYTES = 1_000_000_000
GROUP_BYTES = 16_000_000  # for the bare encoder, whose own threads like large calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", nargs="+", default=[], help="default: the built-in corpus")
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        documents = [
            b"\n".join(line for line in text.splitlines() if line.strip())
            for text in open_source(SourceOptions(tuple(arguments.text))).documents()
        ]
        write_text(folder / "short.txt", documents)
        write_text(folder / "long.txt", numbered(documents, LONG_BYTES))
        learning = ("--vocab-size", VOCAB_SIZE, "--out", "given")
        electra("prepare", "short.txt", *learning, cwd=folder)
        measure(folder, arguments.repetitions)


def numbered(documents: list[bytes], num_bytes: int) -> Iterator[bytes]:
    """The documents again and again, each with its number, at least `num_bytes` together."""
    copies = -(-num_bytes // sum(map(len, documents)))
    return (b"%d %s" % numbered for numbered in enumerate(chain(*repeat(documents, copies))))


def write_text(path: Path, documents: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        file.writelines(b"%s\n\n" % text for text in documents)


def measure(folder: Path, repetitions: int) -> None:
    tokenizer = load_tokenizer(folder / "given" / "tokenizer")

    # Each contestant has a folder, under its name. What the last one wrote is on the disk before
    # the next one starts, and the text is in memory, so that no time is spent on another's output.
    def start_anew(name: str) -> None:
        shutil.rmtree(folder / name, ignore_errors=True)
        os.sync()
        read_files(folder.glob("*.txt"))

    def prepare(name: str, text: str, *options: object) -> None:
        whole = ("--validation-fraction", 0, "--out", name)
        electra("prepare", f"{text}.txt", *whole, *options, cwd=folder)

    def use_datasets(name: str, text: str) -> None:
        paths = (folder / f"{text}.txt", folder / "given" / "tokenizer", folder / name)
        run(sys.executable, "-m", "benchmarks.datasets_map", *paths, cwd=Path.cwd())

    # Both with a new engine: it remembers the words that it has seen.
    def encode(groups: list[list[bytes]]) -> None:
        engine = FastEngine.from_json(tokenizer.backend_tokenizer.to_str())
        for group in groups:
            engine.encode_batch(group, add_special_tokens=False)

    def encode_in_threads(groups: list[list[bytes]]) -> None:
        encoder = TextEncoder(tokenizer)
        assert encoder.is_fast
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for _ in threads.map(encoder.encode, groups):
                pass

    contestants: dict[str, Callable[[], object]] = {}
    for text in ("short", "long"):
        source = open_source(SourceOptions((str(folder / f"{text}.txt"),)))
        groups = list(group_texts(source.documents(), GROUP_BYTES))
        given, learned = f"{text} prepare", f"{text} learn"
        contestants[given] = partial(prepare, given, text, "--tokenizer", "given/tokenizer")
        contestants[learned] = partial(prepare, learned, text, "--vocab-size", VOCAB_SIZE)
        contestants[f"{text} datasets"] = partial(use_datasets, f"{text} datasets", text)
        contestants[f"{text} encoder"] = partial(encode, groups)
        contestants[f"{text} threads"] = partial(encode_in_threads, groups)
    turns = take_turns(contestants, repetitions, warm_up=0, before=start_anew)
    check_same_ids(folder / "long prepare", folder / "long datasets" / "saved")

    for text in ("short", "long"):
        num_bytes = (folder / f"{text}.txt").stat().st_size
        num_tokens = load_manifest(folder / f"{text} prepare").num_tokens
        print(f"  {text} text: {num_bytes / 1e6:,.0f} MB, {num_tokens / 1e6:,.1f} million tokens")
        ours = f"{text} prepare"
        report("prepare, seconds", Spread.of(turns.seconds[ours]))
        report("prepare, million tokens/s", f"{turns.rate(ours, num_tokens / 1e6):.2f}")
        report(
            "prepare with learning a vocabulary, seconds", Spread.of(turns.seconds[f"{text} learn"])
        )
        report(
            "datasets.map, million tokens/s",
            f"{turns.rate(f'{text} datasets', num_tokens / 1e6):.2f}",
        )
        report(
            "prepare, times as fast as datasets.map",
            turns.ratio(f"{text} datasets", ours),
            "bar: 25",
        )
        report(
            "bare encoder, million tokens/s",
            f"{turns.rate(f'{text} encoder', num_tokens / 1e6):.2f}",
        )
        report(
            "prepare, share of the bare encoder's speed",
            turns.ratio(f"{text} encoder", ours),
            "bar: 0.5",
        )
        report("  of its speed when called as prepare does", turns.ratio(f"{text} threads", ours))
    beyond = {
        name: [
            long - short
            for short, long in zip(
                turns.seconds[f"short {name}"], turns.seconds[f"long {name}"], strict=True
            )
        ]
        for name in ("prepare", "datasets", "encoder")
    }
    print("  what the long text takes beyond the short one, so without the start of a process")
    shares = zip(beyond["encoder"], beyond["prepare"], strict=True)
    report("prepare, share of the bare encoder's speed", Spread.of([a / b for a, b in shares]))
    ratios = zip(beyond["datasets"], beyond["prepare"], strict=True)
    report("prepare, times as fast as datasets.map", Spread.of([a / b for a, b in ratios]))


def check_same_ids(ours: Path, theirs: Path) -> None:
    """Stop with an error unless both hold the same documents, id by id."""
    shards = open_shards(ours, load_manifest(ours), "train")
    rows = load_from_disk(str(theirs)).data.column("input_ids").combine_chunks()
    lengths = np.diff(rows.offsets.to_numpy())
    is_kept = lengths >= MIN_DOCUMENT_TOKENS
    ids = rows.flatten().to_numpy()[np.repeat(is_kept, lengths)]
    ours_lengths = np.diff(shards.offsets)
    same = np.array_equal(ours_lengths, lengths[is_kept]) and np.array_equal(
        shards.gather(shards.offsets[:-1], ours_lengths), ids
    )
    if not same:
        sys.exit("prepare and datasets.map gave different ids")


if __name__ == "__main__":
    main()
