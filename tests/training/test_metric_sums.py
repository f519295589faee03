import pytest
import torch

from electra_cli.training.metric_sums import MetricSums


def scalars(**values: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(float(value)) for name, value in values.items()}


def test_sums_are_over_all_micro_batches():
    sums = MetricSums(torch.device("cpu"))
    sums.add(scalars(loss=10, judged=100), num_tokens=100, num_masked=4)
    sums.add(scalars(loss=2, judged=50), num_tokens=50, num_masked=8)
    assert sums.on_host(sums.values.tolist()) == {
        "loss": 12.0,
        "judged": 150.0,
        "tokens": 150,
        "masked": 12,
    }
    sums.reset()
    assert sums.on_host(sums.values.tolist()) == {
        "loss": 0.0,
        "judged": 0.0,
        "tokens": 0,
        "masked": 0,
    }


def test_counts_are_exact_beyond_what_float32_holds():
    sums = MetricSums(torch.device("cpu"))
    for _ in range(3):
        sums.add(scalars(judged=2**24), num_tokens=1, num_masked=1)
        sums.add(scalars(judged=1), num_tokens=1, num_masked=1)
    assert sums.values.tolist() == [3 * 2**24 + 3]


def test_what_was_saved_goes_on_in_any_order_of_names():
    first, second = (MetricSums(torch.device("cpu")) for _ in range(2))
    first.add(scalars(loss=3, judged=5), num_tokens=7, num_masked=2)
    saved = {name: value.clone() for name, value in reversed(first.named().items())}
    second.load(saved, first.num_tokens, first.num_masked)
    for sums in (first, second):
        sums.add(scalars(loss=1, judged=2), num_tokens=3, num_masked=1)
    assert second.on_host(second.values.tolist()) == first.on_host(first.values.tolist())
    assert second.names == ("loss", "judged")


def test_what_an_old_checkpoint_lacks_begins_at_nothing():
    sums = MetricSums(torch.device("cpu"))
    sums.load(scalars(loss=3), 7, 2)
    sums.add(scalars(loss=1, judged=2), 3, 1)
    assert sums.on_host(sums.values.tolist())["judged"] == 2
    assert sums.on_host(sums.values.tolist())["loss"] == 4


def test_a_sum_that_was_saved_is_never_forgotten():
    sums = MetricSums(torch.device("cpu"))
    sums.load(scalars(loss=3, other=1), 7, 2)
    with pytest.raises(AssertionError):
        sums.add(scalars(loss=1), 3, 1)
