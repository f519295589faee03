"""The loss, the rates and the FLOPs of a network that is fine-tuned."""

import pytest
from tiny_tasks import SPECS, labelled_batch, tiny_encoder
from transformers import AutoModel

from electra_cli.config import OptimConfig
from electra_cli.model.cost.flops import TrainingFlops
from electra_cli.model.finetune_model import FinetuneModel, count_flops_of
from electra_cli.model.heads import build_network
from electra_cli.model.layer_rates import LayerRates
from electra_cli.model.objectives.objective import StepCounts


def test_flops_are_six_per_weight_and_token():
    encoder = tiny_encoder()
    base = AutoModel.from_config(encoder.config)
    tables = (
        "word_embeddings.weight",
        "position_embeddings.weight",
        "token_type_embeddings.weight",
    )
    weights = sum(p.numel() for n, p in base.named_parameters() if not n.endswith(tables))
    assert count_flops_of(encoder) == TrainingFlops(6.0 * weights, 0.0, 12.0 * 32 * 2)


def test_the_loss_of_a_step_is_the_mean_over_all_its_slots():
    network = build_network(tiny_encoder(), SPECS["token"], seed=0, is_trained=True)
    losses = lambda logits, batch: 0 * logits.sum(1) + 2.0  # noqa: E731
    model = FinetuneModel(network, "token", losses, LayerRates(0.5))
    batch = labelled_batch("token")
    slots = len(batch.positions)
    (found,) = model.losses(batch, StepCounts(num_masked=4 * slots, num_tokens=0))
    assert found.loss.item() == pytest.approx(0.5)  # of four micro-batches like this one
    assert found.sums["loss"].item() == pytest.approx(2.0 * slots)
    assert model.metrics({"loss": 6.0, "masked": 3.0}) == {"loss": 2.0}
    assert model.metrics({}) == {"loss": None}
    assert model.metrics({"masked": 2.0}) == {"loss": 0.0}
    assert model.rate_factors(OptimConfig())[network.classifier.weight] == 1
    assert min(model.rate_factors(OptimConfig()).values()) == 0.5**4
    assert model.flops == count_flops_of(tiny_encoder())
