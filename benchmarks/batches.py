"""Batches of given lengths, as the program's own reader makes them, and a trainer for them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from electra_cli.batch import Batch
from electra_cli.config import PretrainConfig
from electra_cli.data.batches import TokenRoles, WindowReader
from electra_cli.model.objectives.registry import build_objective
from electra_cli.presets import load_preset
from electra_cli.training.device import Compute
from electra_cli.training.processes import ALONE, Processes
from electra_cli.training.trainer import Trainer

# BERT's vocabulary: its size, and the ids of [PAD], [CLS], [SEP] and [MASK].
VOCAB_SIZE = 30_522
PAD_ID, CLS_ID, SEP_ID, MASK_ID = 0, 101, 102, 103
FIRST_WORD_ID = 999


@dataclass(frozen=True)
class Shape:
    """The preset, number of windows and window length of a step."""

    preset: str
    num_sequences: int
    max_length: int

    def lengths(self, mixed: bool) -> list[int]:
        """Full windows; or uniform from five sixteenths of the full length, such as 40 to 128."""
        if not mixed:
            return [self.max_length] * self.num_sequences
        draw = np.random.default_rng(0)
        shortest = self.max_length * 5 // 16
        return draw.integers(shortest, self.max_length + 1, self.num_sequences).tolist()

    def config(self, dropout: float) -> PretrainConfig:
        """The preset's recipe with this batch and this dropout."""
        return load_preset(
            self.preset,
            assignments=[
                f"data.max_seq_length={self.max_length}",
                "data.short_window_fraction=0",
                "data.single_segment_fraction=0",
                f"model.hidden_dropout_prob={dropout}",
                f"model.attention_probs_dropout_prob={dropout}",
                f"run.batch_size={self.num_sequences}",
            ],
        )


class _Documents:
    """One document per window: the tokens of a split, in memory."""

    def __init__(self, lengths: list[int]) -> None:
        self.offsets = np.cumsum([0, *lengths])
        # Word frequencies as in text: Zipf's law.
        ranks = np.random.default_rng(0).zipf(1.2, size=self.offsets[-1])
        self._tokens = np.minimum(FIRST_WORD_ID - 1 + ranks, VOCAB_SIZE - 1).astype(np.int64)

    def gather(self, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        parts = [self._tokens[s : s + n] for s, n in zip(starts, lengths, strict=True)]
        return np.concatenate(parts)


def make_batch(config: PretrainConfig, lengths: list[int]) -> Batch:
    """Windows `[CLS] A [SEP] B [SEP]` of the given lengths."""
    token_roles = TokenRoles(CLS_ID, SEP_ID, MASK_ID, begins_word=np.arange(VOCAB_SIZE) % 3 != 0)
    documents = _Documents([length - 3 for length in lengths])
    reader = WindowReader(documents, token_roles, config.data, config.objective.mask_fraction, 0)
    batch = reader.read(0, 0, len(lengths))
    assert sorted(batch.cu_seqlens.diff().tolist()) == sorted(lengths)
    return batch


def make_trainer(config: PretrainConfig, processes: Processes = ALONE) -> Trainer:
    """The program's own trainer, from its own initial weights."""
    torch.manual_seed(0)
    model = build_objective(config.model, config.objective, VOCAB_SIZE, PAD_ID)
    compute = Compute(torch.device("cpu"), "fp32", has_flash=False)
    return Trainer(model, config, compute, processes)
