"""Files of run.probes -> what probes ask: labelled texts, or minimal pairs, by their columns."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from electra_cli.config import PretrainConfig
from electra_cli.data.prepared import PreparedData
from electra_cli.data.tokenizer import load_tokenizer
from electra_cli.disk import whole_path
from electra_cli.errors import DataError
from electra_cli.finetuning.inputs import InputBuilder
from electra_cli.finetuning.rows import Table, read_table
from electra_cli.model.objectives.registry import training_flops
from electra_cli.probing.pairs import MinimalPairs
from electra_cli.probing.probes import USUAL_SHARE, LabelledTexts, Probes, probing_flops
from electra_cli.probing.texts import TokenIds
from electra_cli.runs.plan import RunSize, measure_run

_PAIR_COLUMNS = ("good", "bad")
_LABELLED_COLUMNS = ("text", "label")
# Of larger files a fixed sample is taken, so that a probe costs seconds.
_MOST_TEXTS = 2_000
_MOST_PAIRS = 1_000
_NEEDED = "a file has columns text and label, or good and bad (and paradigm)"


def open_probes(config: PretrainConfig, data: PreparedData) -> Probes | None:
    """The probes of a run; None if it has none. Raises DataError that names the file or the row.

    Without run.probe_every they are as many evaluations apart as keep their cost under 5%.
    """
    if not config.run.probes:
        return None
    encode = _Encoder(config, data)
    labelled: LabelledTexts | None = None
    pairs: MinimalPairs | None = None
    for path in config.run.probes:
        table = read_table(path)
        if set(_PAIR_COLUMNS) <= set(table.columns) and pairs is None:
            pairs = _read_pairs(table, encode)
        elif set(_LABELLED_COLUMNS) <= set(table.columns) and labelled is None:
            labelled = _read_labelled(table, encode)
        elif {*_PAIR_COLUMNS} <= {*table.columns} or {*_LABELLED_COLUMNS} <= {*table.columns}:
            raise DataError(
                f"{path} is a second file of its kind among run.probes",
                hint="name one file with text and label, and one with good and bad",
            )
        else:
            raise DataError(f"{path} has columns {', '.join(table.columns)}", hint=_NEEDED)
    probes = Probes(config.run.eval_every, encode.mask_id, labelled, pairs, encode.num_cut)
    if config.run.probe_every is not None:
        return replace(probes, every=config.run.probe_every)
    vocab_size = data.manifest.vocab_size
    share = _cost_share(config, measure_run(config, vocab_size, data), vocab_size, probes)
    return replace(probes, every=config.run.eval_every * max(1, int(np.ceil(share / USUAL_SHARE))))


def describe_probes(config: PretrainConfig, size: RunSize, vocab_size: int, probes: Probes) -> str:
    """A line of the plan: how often, at which cost, and how many texts are not read whole."""
    every = min(probes.every, config.run.num_steps)
    share = _cost_share(config, size, vocab_size, replace(probes, every=every))
    cost = f"every {every:,} steps, at most {100 * share:.2g}% of the training FLOPs"
    if not probes.num_cut:
        return cost
    cut = f"{probes.num_cut:,} of {probes.num_texts:,} texts are cut"
    return f"{cost}; {cut} to windows of {config.data.max_seq_length} tokens"


def with_whole_paths(config: PretrainConfig) -> PretrainConfig:
    """Probe files and older text by their full names, so that a resume works from anywhere."""
    probes = tuple(map(whole_path, config.run.probes))
    changed: dict[str, object] = {"run": config.run.model_copy(update={"probes": probes})}
    if config.data.replay is not None:
        directory, _, share = config.data.replay.rpartition(":")
        replay = {"replay": f"{whole_path(directory)}:{share}"}
        changed["data"] = config.data.model_copy(update=replay)
    return config.model_copy(update=changed)


def _cost_share(config: PretrainConfig, size: RunSize, vocab_size: int, probes: Probes) -> float:
    """FLOPs of these probes over those of the training steps between two of them."""
    flops = training_flops(config, vocab_size)
    between = probes.every * size.total_flops / config.run.num_steps
    return probing_flops(flops, probes.labelled, probes.pairs) / between


class _Encoder:
    """Texts -> [CLS] tokens [SEP]: of each the first window, as long as those of the run."""

    def __init__(self, config: PretrainConfig, data: PreparedData) -> None:
        self._tokenizer = load_tokenizer(data.tokenizer_directory)
        self._max_length = config.data.max_seq_length
        self.mask_id = data.token_roles.mask_id
        self.num_cut = 0  # texts so far

    def __call__(self, texts: Sequence[str]) -> list[TokenIds]:
        builder = InputBuilder(self._tokenizer, self._max_length)
        firsts = {window.example: window.ids for window in reversed([*builder.texts(texts, None)])}
        self.num_cut += builder.counts.split_examples
        return [firsts[index].astype(np.int64) for index in range(len(texts))]


def _read_labelled(table: Table, encode: _Encoder) -> LabelledTexts:
    """Half is learned from and half is asked; which, depends on the texts alone."""
    rows = sorted(_texts(table, "text", "label"), key=lambda row: _order(row[0]))[:_MOST_TEXTS]
    half = len(rows) // 2
    labels = [label for _, label in rows]
    if len(set(labels[:half])) < 2:
        raise DataError(
            f"{table.name} has one label alone among the {half} examples to learn from",
            hint="a probe needs examples of two labels or more",
        )
    return LabelledTexts(encode([text for text, _ in rows]), labels, half)


def _read_pairs(table: Table, encode: _Encoder) -> MinimalPairs:
    kinds = [str(row.values.get("paradigm", "")) for row in table.rows]
    found = zip(_texts(table, *_PAIR_COLUMNS), kinds, strict=True)
    rows = sorted(found, key=lambda row: _order(row[0][0]))[:_MOST_PAIRS]
    good, bad = (encode([pair[at] for pair, _ in rows]) for at in (0, 1))
    return MinimalPairs(good, bad, [kind for _, kind in rows])


def _texts(table: Table, *columns: str) -> list[tuple[Any, ...]]:
    """These columns of every row. Raises DataError for one that is empty or no text."""
    found = []
    for row in table.rows:
        values = tuple(row.values.get(name) for name in columns)
        for name, value in zip(columns, values, strict=True):
            if not str("" if value is None else value).strip():
                raise DataError(f"{row.where}: {name} is empty", hint="remove the row, or fill it")
        found.append(tuple(str(value) for value in values))
    return found


def _order(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
