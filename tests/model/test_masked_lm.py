import pytest
import torch
from torch.nn import functional

from electra_cli.model.masked_lm import masked_lm, rows_of_chunk


def make_inputs(slots: int, size: int, vocab: int, seed: int = 0) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    hidden = torch.randn(slots, size, generator=draw).requires_grad_()
    weight = torch.randn(vocab, size, generator=draw).requires_grad_()
    bias = torch.randn(vocab, generator=draw).requires_grad_()
    target = torch.randint(vocab, (slots,), generator=draw)
    noise = torch.rand(slots, generator=draw)
    return [hidden, weight, bias, target, noise]


@pytest.mark.parametrize("rows_per_chunk", [1, 7, 1000])
def test_loss_and_gradients_equal_cross_entropy(rows_per_chunk):
    hidden, weight, bias, target, noise = make_inputs(23, 8, 50)
    output = masked_lm(hidden, weight, bias, target, noise, rows_per_chunk=rows_per_chunk)
    (output.loss_sum * 0.7).backward()
    found = [tensor.grad.clone() for tensor in (hidden, weight, bias)]
    for tensor in (hidden, weight, bias):
        tensor.grad = None
    logits = functional.linear(hidden, weight, bias)
    expected = functional.cross_entropy(logits, target, reduction="none")
    (expected.sum() * 0.7).backward()
    torch.testing.assert_close(output.losses, expected.detach())
    torch.testing.assert_close(output.loss_sum, expected.sum())
    assert torch.equal(output.is_correct, logits.argmax(1) == target)
    for gradient, tensor in zip(found, (hidden, weight, bias), strict=True):
        torch.testing.assert_close(gradient, tensor.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("vocab", [48, 50])  # a GPU's products want multiples of 8
@pytest.mark.parametrize("rows_per_chunk", [7, 1000])
def test_factors_of_16_bits_change_nothing_but_rounding(vocab, rows_per_chunk):
    hidden, weight, bias, target, noise = make_inputs(23, 8, vocab)
    exact = [x.detach().bfloat16().float().requires_grad_() for x in (hidden, weight)]
    found = masked_lm(
        hidden, weight, bias, target, noise, rows_per_chunk=rows_per_chunk, dtype=torch.bfloat16
    )
    expected = masked_lm(*exact, bias, target, noise, rows_per_chunk=rows_per_chunk)
    torch.testing.assert_close(found.losses, expected.losses)
    assert torch.equal(found.sampled_ids, expected.sampled_ids)
    assert torch.equal(found.is_correct, expected.is_correct)
    gradients = torch.autograd.grad(found.loss_sum, (hidden, weight, bias))
    exact_gradients = torch.autograd.grad(expected.loss_sum, (*exact, bias))
    for of, wanted in zip(gradients, exact_gradients, strict=True):
        # The gradient of each logit is rounded to 8 bits.
        torch.testing.assert_close(of, wanted, rtol=0.01, atol=0.01)


def test_gradients_pass_gradcheck_against_finite_differences():
    hidden, weight, bias, target, noise = make_inputs(3, 4, 6)

    def loss(scale: torch.Tensor) -> torch.Tensor:
        return masked_lm(hidden * scale, weight, bias, target, noise).loss_sum

    step = 1e-2
    scale = torch.tensor(1.0, requires_grad=True)
    loss(scale).backward()
    numeric = (loss(torch.tensor(1 + step)) - loss(torch.tensor(1 - step))) / (2 * step)
    assert scale.grad.item() == pytest.approx(numeric.item(), rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("disallow_correct", [False, True])
def test_samples_are_distributed_as_the_softmax(dtype, temperature, disallow_correct):
    count, vocab = 60_000, 40
    draw = torch.Generator().manual_seed(1)
    hidden = torch.randn(1, 8, generator=draw).to(dtype).expand(count, 8)
    weight, bias = torch.randn(vocab, 8, generator=draw), torch.randn(vocab, generator=draw)
    noise = torch.rand(count, generator=draw)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        logits = functional.linear(hidden[0].double(), weight.double(), bias.double())
        likeliest = int(logits.argmax())
        target = torch.full((count,), likeliest)
        sampled = masked_lm(
            hidden, weight, bias, target, noise, temperature, disallow_correct
        ).sampled_ids
    if disallow_correct:
        assert not (sampled == likeliest).any()
        logits[likeliest] = float("-inf")
    expected = torch.softmax(logits / temperature, 0) * count
    observed = torch.bincount(sampled, minlength=vocab).double()
    common = expected >= 5  # the usual condition of the chi-square test; the rest is one class
    chi_square = ((observed - expected) ** 2 / expected)[common].sum()
    rest = (observed[~common].sum() - expected[~common].sum()) ** 2
    chi_square += rest / expected[~common].sum().clamp_min(1e-9)
    degrees = int(common.sum())
    assert chi_square < degrees + 4 * (2 * degrees) ** 0.5


def test_the_noise_of_a_slot_chooses_by_the_cumulative_distribution():
    probabilities = torch.tensor([0.1, 0.0, 0.4, 0.5])
    noise = torch.tensor([0.0, 0.099, 0.101, 0.499, 0.501, 1 - 2**-24])
    slots = len(noise)
    output = masked_lm(
        torch.zeros(slots, 2),
        torch.zeros(4, 2),
        probabilities.log(),
        torch.zeros(slots, dtype=torch.long),
        noise,
    )
    assert output.sampled_ids.tolist() == [0, 0, 2, 2, 3, 3]


def test_an_impossible_token_is_never_sampled():
    bias = torch.tensor([float("-inf"), 0.0, float("-inf"), 0.0, float("-inf")])
    noise = torch.linspace(0, 1 - 2**-24, 999)
    target = torch.ones(999, dtype=torch.long)
    output = masked_lm(torch.zeros(999, 2), torch.zeros(5, 2), bias, target, noise)
    assert set(output.sampled_ids.tolist()) == {1, 3}


def test_disallow_correct_finds_another_token_where_the_target_is_almost_sure():
    bias = torch.tensor([200.0, 1.0, 0.0])  # all but the target underflow beside it
    output = masked_lm(
        torch.zeros(2, 2),
        torch.zeros(3, 2),
        bias,
        torch.tensor([0, 0]),
        torch.tensor([0.1, 0.99]),
        disallow_correct=True,
    )
    assert output.sampled_ids.tolist() == [1, 2]


def test_an_evaluation_makes_no_gradient(monkeypatch):
    hidden, weight, bias, target, noise = make_inputs(5, 4, 9)
    monkeypatch.setattr(torch, "zeros_like", None)  # what a gradient of the matrix begins with
    with torch.no_grad():
        assert not masked_lm(hidden, weight, bias, target, noise).loss_sum.requires_grad


def test_without_noise_nothing_is_sampled():
    hidden, weight, bias, target, noise = make_inputs(5, 4, 9)
    with_samples, without = (
        masked_lm(hidden, weight, bias, target, each) for each in (noise, None)
    )
    assert len(without.sampled_ids) == 0
    assert torch.equal(without.losses, with_samples.losses)


def test_no_slots_have_no_loss_and_a_gradient_of_zero(monkeypatch):
    hidden, weight, bias, target, noise = make_inputs(0, 4, 9)
    monkeypatch.setattr(torch, "empty_like", lambda x: torch.full_like(x, float("nan")))
    output = masked_lm(hidden, weight, bias, target, noise)
    assert [len(each) for each in output[1:]] == [0, 0, 0]
    assert (output.sampled_ids.dtype, output.is_correct.dtype) == (torch.int64, torch.bool)
    output.loss_sum.backward()
    assert output.loss_sum.item() == 0
    assert not weight.grad.any() and not bias.grad.any()


def test_large_logits_neither_overflow_nor_underflow():
    bias = torch.tensor([1e4, 0.0, -1e4])
    output = masked_lm(
        torch.zeros(2, 2), torch.zeros(3, 2), bias, torch.tensor([0, 2]), torch.tensor([0.5, 0.5])
    )
    assert output.losses.tolist() == [0.0, 2e4]
    assert output.sampled_ids.tolist() == [0, 0]


@pytest.mark.parametrize(("rows_per_chunk", "heights"), [(7, [7, 7, 7, 2]), (None, [23])])
def test_no_more_rows_than_a_chunk_have_logits_at_a_time(monkeypatch, rows_per_chunk, heights):
    hidden, weight, bias, target, noise = make_inputs(23, 8, 50)
    found = []
    addmm = torch.addmm

    def counted(bias: torch.Tensor, rows: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        found.append(len(rows))
        return addmm(bias, rows, *rest)

    monkeypatch.setattr(torch, "addmm", counted)
    masked_lm(hidden, weight, bias, target, noise, rows_per_chunk=rows_per_chunk)
    assert found == heights


def test_a_chunk_is_as_large_as_the_device_does_well_with():
    def weight(vocab: int, device: str) -> torch.Tensor:
        return torch.empty(vocab, 1, device=device)

    assert rows_of_chunk(weight(2**15, "cpu")) == 2**7
    assert rows_of_chunk(weight(2**15, "meta")) == 2**11
    assert rows_of_chunk(weight(2**23, "cpu")) == 1


def test_logits_that_are_not_finite_give_words_of_the_vocabulary():
    """The loss says what is wrong, once it is looked at; a GPU's step goes on until then."""
    hidden, noise = torch.full((2, 3), float("nan")), torch.tensor([0.1, 0.9])
    targets = torch.tensor([1, 2])
    output = masked_lm(hidden, torch.ones(7, 3), torch.zeros(7), targets, noise)
    assert output.loss_sum.isnan()
    assert (output.sampled_ids < 7).all()
