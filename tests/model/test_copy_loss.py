import pytest
import torch
from torch.nn import functional

from electra_cli.model.copy_loss import copy_loss


@pytest.mark.parametrize("rows_per_chunk", [1, 4, 100])
def test_it_equals_the_mixture_written_out(rows_per_chunk):
    tokens, size, vocab = 11, 6, 30
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, size, generator=draw).requires_grad_()
    weight = torch.randn(vocab, size, generator=draw).requires_grad_()
    bias = torch.randn(vocab, generator=draw).requires_grad_()
    copy_logits = torch.randn(tokens, generator=draw).requires_grad_()
    input_ids = torch.randint(vocab, (tokens,), generator=draw)
    target_ids = torch.where(torch.arange(tokens) % 3 == 0, (input_ids + 1) % vocab, input_ids)
    inputs = (hidden, weight, bias, copy_logits)

    loss, is_correct = copy_loss(*inputs, input_ids, target_ids, rows_per_chunk)
    found = torch.autograd.grad(loss, inputs)

    gate = copy_logits.sigmoid()[:, None]
    softmax = functional.linear(hidden, weight, bias).softmax(1)
    mixture = gate * functional.one_hot(input_ids, vocab) + (1 - gate) * softmax
    expected = -mixture.gather(1, target_ids[:, None]).log().sum()
    torch.testing.assert_close(loss, expected)
    assert torch.equal(is_correct, mixture.argmax(1) == target_ids)
    assert 0 < is_correct.sum() < tokens
    for gradient, wanted in zip(found, torch.autograd.grad(expected, inputs), strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("rows_per_chunk", "heights"), [(4, [4, 4, 3]), (None, [11])])
def test_no_more_rows_than_a_chunk_have_logits_at_a_time(monkeypatch, rows_per_chunk, heights):
    found = []
    linear = functional.linear

    def counted(rows: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        found.append(len(rows))
        return linear(rows, *rest)

    monkeypatch.setattr(functional, "linear", counted)
    ids = torch.zeros(11, dtype=torch.int64)
    copy_loss(
        torch.zeros(11, 2), torch.zeros(3, 2), torch.zeros(3), torch.zeros(11), ids, ids,
        rows_per_chunk,
    )  # fmt: skip
    assert found == heights


def test_a_gate_that_is_sure_gives_finite_losses():
    hidden, weight, bias = torch.zeros(2, 2), torch.zeros(3, 2), torch.zeros(3)
    input_ids, target_ids = torch.tensor([0, 0]), torch.tensor([0, 1])
    loss, is_correct = copy_loss(
        hidden, weight, bias, torch.full((2,), 200.0), input_ids, target_ids
    )
    assert loss.item() == pytest.approx(200 + torch.tensor(3.0).log().item())
    assert is_correct.tolist() == [True, False]
