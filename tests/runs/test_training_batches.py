import threading
from itertools import islice

import numpy as np
import pytest
import torch
from conftest import tiny_config, tiny_reader

from electra_cli.batch import Batch, Share
from electra_cli.data.masking import count_masked
from electra_cli.runs.training_batches import TrainingBatches, number_of_batch
from electra_cli.training.run_state import BatchesState

CONFIG = tiny_config(run={"batch_size": 8})


def ids_of(share: Share[Batch]) -> torch.Tensor:
    return torch.cat([part.input_ids for _, part in share.parts])


def read(count: int, state: BatchesState) -> tuple[list[torch.Tensor], BatchesState]:
    batches = TrainingBatches(tiny_reader(tiny_config()), CONFIG, state, torch.device("cpu"))
    ids = [ids_of(share) for share in islice(batches, count)]
    batches.close()
    return ids, batches.state()


def same(found: list[torch.Tensor], expected: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_skipped_batches_are_passed_over_wherever_reading_stops():
    plain, _ = read(8, BatchesState())
    kept = [ids for number, ids in enumerate(plain, 1) if number not in (3, 6)]
    skipping = BatchesState(skipped=(3, 6))
    assert same(read(6, skipping)[0], kept)
    for count in range(1, 6):
        first, state = read(count, skipping)
        rest, _ = read(6 - count, state)
        assert same(first + rest, kept), count


def test_going_back_reads_ahead_in_one_thread_only():
    before = threading.active_count()
    batches = TrainingBatches(
        tiny_reader(tiny_config()), CONFIG, BatchesState(), torch.device("cpu")
    )
    first = next(batches)
    batches.rewind(BatchesState(), skipped=[])
    assert threading.active_count() == before + 1
    assert torch.equal(ids_of(next(batches)), ids_of(first))
    batches.close()
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("step", "skipped", "number"),
    [(3, [], 3), (3, [4], 3), (3, [3], 4), (3, [3, 4], 5), (3, [1, 5], 4), (5, [6, 2, 5], 8)],
)
def test_a_step_trains_on_the_batch_of_its_number_among_those_not_skipped(step, skipped, number):
    assert number_of_batch(step, skipped) == number
    assert [n for n in range(1, 20) if n not in skipped][step - 1] == number


def test_a_mask_fraction_that_moves_is_a_function_of_the_batch():
    schedule = {"start": 0.4, "end": 0.1, "over": 0.5}
    config = tiny_config(objective={"mask_fraction": schedule}, run={"num_steps": 12})

    def read_from(state: BatchesState, number: int) -> tuple[list[Batch], BatchesState]:
        reader = tiny_reader(tiny_config(objective={"mask_fraction": 0.1}))
        batches = TrainingBatches(reader, config, state, torch.device("cpu"))
        found = [share.parts[0][1] for share in islice(batches, number)]
        batches.close()
        return found, batches.state()

    # 40 documents: an epoch has about 20 batches, so that some are read in the second one.
    whole, _ = read_from(BatchesState(), 30)
    for number, batch in enumerate(whole):
        wanted = 0.4 - 0.3 * min(1.0, number / 6)
        lengths = batch.cu_seqlens.diff().numpy()
        expected = count_masked(lengths, wanted, 32)
        assert batch.num_masked == np.minimum(expected, lengths - 2).sum(), number
    first, state = read_from(BatchesState(), 4)
    rest, _ = read_from(state, 26)
    for found, batch in zip([*first, *rest], whole, strict=True):
        assert torch.equal(found.masked_positions, batch.masked_positions)
