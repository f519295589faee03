import pytest
import torch

from electra_cli.model.objectives.corruption import sample_uniformly


def chi_square(observed: torch.Tensor, expected: float) -> float:
    return float(((observed - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("disallow_correct", [False, True])
def test_uniform_samples_are_uniform_over_the_vocabulary(disallow_correct):
    count, vocab_size, original = 120_000, 40, 7
    noise = torch.rand(count, generator=torch.Generator().manual_seed(0))
    original_ids = torch.full((count,), original)
    sampled = sample_uniformly(noise, original_ids, vocab_size, disallow_correct)
    observed = torch.bincount(sampled, minlength=vocab_size).double()
    assert len(observed) == vocab_size
    if disallow_correct:
        assert observed[original] == 0
        observed = torch.cat([observed[:original], observed[original + 1 :]])
    degrees = len(observed) - 1
    assert chi_square(observed, count / len(observed)) < degrees + 4 * (2 * degrees) ** 0.5


@pytest.mark.parametrize("original", [0, 3, 4])
def test_the_ends_of_the_noise_stay_inside_the_vocabulary(original):
    noise = torch.tensor([0.0, 1 - 2**-24])
    for disallow_correct in (False, True):
        sampled = sample_uniformly(noise, torch.full((2,), original), 5, disallow_correct)
        allowed = [i for i in range(5) if not (disallow_correct and i == original)]
        assert sampled.tolist() == [allowed[0], allowed[-1]]
