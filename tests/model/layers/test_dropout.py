import pytest
import torch
from torch import nn

from electra_cli.model.layers.dropout import Dropout, keep_mask, replace_dropout


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_as_many_elements_are_dropped_as_the_rate_says(rate):
    torch.manual_seed(0)
    keep, scale = keep_mask(torch.empty(1000, 1001), rate)
    count = keep.numel()
    # Five standard deviations of a binomial.
    tolerance = 5 * (rate * (1 - rate) / count) ** 0.5
    assert keep.float().mean().item() == pytest.approx(1 - rate, abs=tolerance)
    assert scale == pytest.approx(1 / (1 - rate), rel=2e-5)
    # All four decisions of 64 bits alike, and no two rows the same.
    for first in range(4):
        part = keep.flatten()[first::4].float().mean().item()
        assert part == pytest.approx(1 - rate, abs=2 * tolerance)
    assert len({row.numpy().tobytes() for row in keep}) == len(keep)


def test_of_all_random_bits_as_many_drop_an_element_as_the_rate_says(monkeypatch):
    def draw_each_once(drawn: torch.Tensor, *_: object) -> None:
        drawn.view(torch.int16).copy_(torch.arange(-(2**15), 2**15))

    monkeypatch.setattr(torch.Tensor, "random_", draw_each_once)
    keep, scale = keep_mask(torch.empty(2**16), 0.1)
    assert keep.sum() == 65_536 - 6_554
    assert scale == 65_536 / (65_536 - 6_554)


def test_neighbours_are_independent():
    torch.manual_seed(0)
    keep = keep_mask(torch.empty(4_000_000), 0.5)[0].double() - 0.5
    for distance in (1, 2, 3, 4, 5, 8):
        correlation = 4 * (keep[distance:] * keep[:-distance]).mean().item()
        assert abs(correlation) < 5 / len(keep) ** 0.5


def test_what_is_dropped_forward_is_dropped_backward():
    torch.manual_seed(0)
    layer = Dropout(0.3)
    hidden = torch.randn(50, 7, requires_grad=True)
    out = layer(hidden)
    factor = (out / hidden).detach()
    assert sorted({round(each, 4) for each in factor.flatten().tolist()}) == [0.0, 1.4286]
    grad = torch.randn(50, 7)
    out.backward(grad)
    torch.testing.assert_close(hidden.grad, grad * factor)


def test_a_rate_of_nearly_one_stays_finite():
    hidden = torch.ones(100_000)
    assert Dropout(1 - 1e-9)(hidden).isfinite().all()
    assert torch.equal(Dropout(0.0)(hidden), hidden)


def test_nothing_is_dropped_in_evaluation():
    hidden = torch.randn(5)
    assert Dropout(0.5).eval()(hidden) is hidden


def test_the_generator_of_torch_decides():
    """So that a checkpoint, which holds its state, goes on with the same masks."""
    layer, hidden = Dropout(0.5), torch.ones(101)
    state = torch.get_rng_state()
    first = layer(hidden)
    assert not torch.equal(layer(hidden), first)
    torch.set_rng_state(state)
    assert torch.equal(layer(hidden), first)


def test_every_dropout_is_replaced():
    module = nn.Sequential(nn.Dropout(0.2), nn.ModuleList([nn.Linear(2, 2), nn.Dropout(0.3)]))
    replace_dropout(module)
    found = [(type(m), m.p) for m in module.modules() if isinstance(m, nn.Dropout)]
    assert found == [(Dropout, 0.2), (Dropout, 0.3)]
