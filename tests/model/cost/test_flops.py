"""Our count against torch's, the authors' count against what their script prints."""

import pytest
from conftest import VOCAB_SIZE, run_objective, tiny_config, tiny_reader
from torch.utils.flop_counter import FlopCounterMode

from electra_cli.model.cost.flops import authors_training_flops
from electra_cli.model.objectives.registry import build_objective, training_flops
from electra_cli.presets import load_preset

BERT_VOCABULARY = 30_522


@pytest.mark.parametrize(
    "objective",
    [
        {"name": "electra"},
        {"name": "electra", "uniform_generator": True},
        {"name": "electra_masked_only"},
        {"name": "mlm"},
        {"name": "replace_mlm"},
        {"name": "all_tokens_mlm"},
    ],
)
def test_the_count_equals_what_torch_counts(objective):
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = tiny_config(model=no_dropout, objective=objective)
    model = build_objective(config.model, config.objective, VOCAB_SIZE, pad_id=0)
    reader = tiny_reader(config)
    # Windows of one length, so that padded attention computes no more than is counted.
    windows = [b for b in reader.read(0, 0, 60).split(1) if b.num_tokens == 32]
    batch = windows[0]
    with FlopCounterMode(display=False) as counter:
        run_objective(model, batch).loss.backward()
    counted = model.flops.count(32, batch.num_masked, 32 * 32)
    logits = 2 * VOCAB_SIZE * config.model.embedding_size
    # Nor the in-place product that adds up the gradient of the tied matrix, once a masked LM.
    masked_lms = config.objective.has_generator + (objective["name"] in ("mlm", "replace_mlm"))
    uncounted = masked_lms * batch.num_masked * logits
    # The logits of all tokens are computed again in the backward pass: time, not model FLOPs.
    repeated = batch.num_tokens * logits * (objective["name"] == "all_tokens_mlm")
    assert counter.get_total_flops() + uncounted - repeated == counted


@pytest.mark.parametrize(
    ("preset", "assignments", "printed"),
    [
        ("small", (), 1.293743798272e18),
        ("base", (), 6.424541834277683e19),
        ("large", (), 7.117606040895488e20),
        ("large", ("run.num_steps=1750000",), 3.113952642891776e21),
    ],
)
def test_under_the_authors_assumptions_the_count_is_theirs(preset, assignments, printed):
    config = load_preset(preset, assignments=assignments)
    assert authors_training_flops(config, BERT_VOCABULARY) == pytest.approx(printed, rel=1e-12)


@pytest.mark.parametrize(
    ("preset", "total"), [("small", 1.1506e18), ("base", 6.7040e19), ("large", 9.0978e20)]
)
def test_our_count_stands_beside_theirs(preset, total):
    """Three passes of products instead of two, masked slots as configured, lookups free.

    Recorded from the count that torch's own confirms above on tiny shapes; windows all full.
    """
    config = load_preset(preset)
    length, run = config.data.max_seq_length, config.run
    tokens = run.batch_size * length
    masked = round(tokens * config.objective.mask_fraction)
    flops = training_flops(config, BERT_VOCABULARY)
    found = flops.count(tokens, masked, tokens * length) * run.num_steps
    assert found == pytest.approx(total, rel=1e-4)
