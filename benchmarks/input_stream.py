"""How fast batches are made, their share of a step, and how a run over 1e9 tokens starts.

    python -m benchmarks.input_stream [--text FILE...] [--repetitions 5] [--tokens 1000000000]

The stream is training's own: TrainingBatches, with its thread, over shards that `electra prepare`
wrote; a step is the Trainer's. The long corpus takes 2 bytes per token of disk space for temporary
files.
"""

import argparse
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from benchmarks.processes import Ended, electra, read_files, train_to_first_step
from benchmarks.turns import Spread, report, take_turns
from electra_cli.batch import Batch, Share
from electra_cli.config import PretrainConfig
from electra_cli.data.batches import Position, WindowReader, iter_batches
from electra_cli.data.manifest import ShardRecord, Split, count_split, load_manifest, save_manifest
from electra_cli.data.prepared import PreparedData, open_data
from electra_cli.data.shards import SHARD_TOKENS, ShardWriter
from electra_cli.presets import load_preset
from electra_cli.run_directory import RunDirectory
from electra_cli.runs.session import open_session
from electra_cli.runs.training_batches import TrainingBatches
from electra_cli.training.device import select_compute
from electra_cli.training.run_state import BatchesState

VOCAB_SIZE = 512  # tiny's own; the stream does not depend on it, larger ones make steps slower
STREAM_TOKENS = 4_000_000  # per turn
STEPS = {"tiny": 60, "small": 2}  # per turn
SMALL_BATCH = 16
START_REPETITIONS = 3
MEDIAN_DOCUMENT_TOKENS = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, nargs="+", default=[], help="default: the built-in")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=1_000_000_000, help="of the long corpus")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = [path.resolve() for path in arguments.text]
        electra("prepare", *texts, "--vocab-size", VOCAB_SIZE, "--out", "data/text", cwd=folder)
        measure_stream(folder, arguments.repetitions)
        measure_start(folder, arguments.tokens)


def measure_stream(folder: Path, repetitions: int) -> None:
    data = open_data(folder / "data" / "text")
    presets = {"20": "tiny", "128": "small", "512": "base"}  # by the tokens of their windows
    streams = {tokens: load_preset(preset) for tokens, preset in presets.items()}
    trainings = {
        "tiny": Training(data, load_preset("tiny"), STEPS["tiny"]),
        "small": Training(
            data, load_preset("small", {"run.batch_size": SMALL_BATCH}), STEPS["small"]
        ),
    }
    contestants: dict[str, Callable[[], object]] = {}
    for tokens, config in streams.items():
        contestants[tokens] = partial(read_ahead, data.reader("train", config), config)
    for name, training in trainings.items():
        contestants[f"make {name}"] = training.make
        contestants[f"step {name}"] = training.step
        contestants[f"step {name} streamed"] = training.step_streamed
    turns = take_turns(contestants, repetitions)

    for tokens in streams:
        rates = Spread.of([STREAM_TOKENS / seconds / 1e6 for seconds in turns.seconds[tokens]])
        report(f"stream, windows of {tokens}: million tokens/s", rates, "bar: 2")
    weight = STREAM_TOKENS / trainings["tiny"].num_tokens
    report(
        "stream, times as fast as tiny trains", turns.ratio("step tiny", "20", weight), "bar: 20"
    )
    for name in trainings:
        share = turns.ratio(f"make {name}", f"step {name}", 100)
        report(f"{name}: making a batch, % of its step", share, "bar: under 2")
        streamed = turns.ratio(f"step {name} streamed", f"step {name}")
        report(f"{name}: a step with the stream / on batches made before", streamed)


def read_ahead(reader: WindowReader, config: PretrainConfig) -> None:
    """Take STREAM_TOKENS from a new stream; the windows are cut in the first turn."""
    batches = TrainingBatches(reader, config.run, BatchesState(), torch.device("cpu"))
    num_tokens = 0
    for batch in batches:
        num_tokens += batch.num_tokens
        if num_tokens >= STREAM_TOKENS:
            break
    batches.close()


class Training:
    """The same few steps of a preset, with batches made before or from the stream."""

    def __init__(self, data: PreparedData, config: PretrainConfig, num_steps: int) -> None:
        self._config = config
        self._num_steps = num_steps
        self._reader = data.reader("train", config)
        self._compute = select_compute(config)
        with tempfile.TemporaryDirectory() as run:
            session = open_session(RunDirectory(Path(run)), config, data, self._compute)
            session.close()
        self._trainer = session.trainer
        self._made = self.make()
        self.num_tokens = sum(batch.num_tokens for batch in self._made)

    def make(self) -> list[Batch]:
        """The batches alone, in this thread."""
        batches = iter_batches(self._reader, self._config.run.batch_size, Position())
        return [batch for batch, _ in islice(batches, self._num_steps)]

    def _take_steps(self, batches: Iterator[Share[Batch]] | Iterator[Batch]) -> None:
        for _ in range(self._num_steps):
            self._trainer.train_step(batches)

    def step(self) -> None:
        self._take_steps(iter(self._made))
        self._trainer.flush(0)  # awaits the device

    def step_streamed(self) -> None:
        batches = TrainingBatches(
            self._reader, self._config.run, BatchesState(), self._compute.device
        )
        self._take_steps(batches)
        self._trainer.flush(0)
        batches.close()


def measure_start(folder: Path, num_tokens: int) -> None:
    write_corpus(folder / "data" / "text", folder / "data" / "long", num_tokens)
    ended: dict[tuple[str, str], list[Ended]] = {}
    read_bytes_per_second = []
    for _ in range(START_REPETITIONS):
        for preset in ("tiny", "small"):
            for data in ("text", "long"):
                rate = read_files((folder / "data" / data).glob("*.arrow"))
                if data == "long":
                    read_bytes_per_second.append(rate)
                options = (
                    "--preset",
                    preset,
                    "--data",
                    f"data/{data}",
                    "--batch-size",
                    SMALL_BATCH,
                )
                one = train_to_first_step(folder, "timed", *options)
                ended.setdefault((preset, data), []).append(one)
                shutil.rmtree(folder / "runs" / "timed")
    for preset in ("tiny", "small"):
        long = ended[preset, "long"]
        pairs = list(zip(ended[preset, "text"], long, strict=True))
        seconds = Spread.of([one.seconds for one in long])
        label = f"{preset}, {num_tokens / 1e6:,.0f} million tokens"
        report(f"{label}: to the first step, seconds", seconds, "bar: 10")
        beyond = Spread.of([large.seconds - small.seconds for small, large in pairs])
        report("  beyond the short corpus, seconds", beyond)
        report("  peak memory, MB", Spread.of([one.peak_bytes / 1e6 for one in long]))
        beyond = Spread.of([(large.peak_bytes - small.peak_bytes) / 1e6 for small, large in pairs])
        report("  beyond the short corpus, MB", beyond, "bar: 500")
    rates = Spread.of([rate / 1e6 for rate in read_bytes_per_second])
    report("the shards had been read before each start at MB/s", rates)


def write_corpus(model: Path, folder: Path, num_tokens: int) -> None:
    """A prepared folder like `model`, of random tokens and documents of many lengths."""
    manifest = load_manifest(model)
    folder.mkdir()
    shutil.copytree(model / "tokenizer", folder / "tokenizer")
    draw = np.random.default_rng(0)
    shards: list[ShardRecord] = []

    def write(writer: ShardWriter, num_wanted: int) -> None:
        count = 1 + num_wanted // MEDIAN_DOCUMENT_TOKENS
        drawn = draw.lognormal(np.log(MEDIAN_DOCUMENT_TOKENS), 1, count).astype(np.int64)
        lengths = drawn[: 1 + np.searchsorted(drawn.cumsum(), num_wanted)] + 4
        ids = draw.integers(5, manifest.vocab_size, int(lengths.sum()), dtype=np.uint16)
        hashes = draw.integers(2**63, size=len(lengths), dtype=np.uint64)
        writer.add(ids, lengths, hashes, np.ones(len(lengths), dtype=np.bool_))
        record = writer.write()
        assert record is not None
        shards.append(record)

    for index, first in enumerate(range(0, num_tokens, SHARD_TOKENS)):
        write(ShardWriter(folder, "train", index), min(SHARD_TOKENS, num_tokens - first))
    write(ShardWriter(folder, "validation", 0), SHARD_TOKENS // 100)

    def counts(split: Split) -> tuple[int, int]:
        return count_split(shards, split)

    (documents, tokens), (held_out_documents, held_out_tokens) = (
        counts("train"),
        counts("validation"),
    )
    save_manifest(
        folder,
        manifest.model_copy(
            update={
                "num_documents": documents,
                "num_tokens": tokens,
                "num_validation_documents": held_out_documents,
                "num_validation_tokens": held_out_tokens,
                "shards": tuple(shards),
            }
        ),
    )


if __name__ == "__main__":
    main()
