"""Each objective against slow, obvious code over Hugging Face's own padded modules."""

import copy

import pytest
import torch
from conftest import VOCAB_SIZE, run_objective, tiny_config, tiny_reader
from torch import nn
from torch.nn import functional

from electra_cli.batch import Batch
from electra_cli.model.networks import Network
from electra_cli.model.objectives.corruption import corrupt
from electra_cli.model.objectives.objective import Objective
from electra_cli.model.objectives.registry import build_objective, objective_class

OBJECTIVES = ["electra", "mlm", "electra_masked_only", "replace_mlm", "all_tokens_mlm"]
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def make_model(name: str, **objective: object) -> Objective:
    config = tiny_config(
        model=NO_DROPOUT,
        objective={
            "name": name,
            "generator_loss_weight": 0.7,
            "discriminator_loss_weight": 3.0,
            **objective,
        },
    )
    torch.manual_seed(0)
    model = build_objective(config.model, config.objective, VOCAB_SIZE, pad_id=0)
    with torch.no_grad():  # away from the small initial weights, so that attention matters
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def batch() -> Batch:
    return tiny_reader(tiny_config()).read(0, 0, 16)


class Padded:
    """The networks of an objective as Hugging Face runs them: a row a window, all logits."""

    def __init__(self, model: Objective, batch: Batch) -> None:
        self.model = copy.deepcopy(model)
        for network in self.model.networks().values():
            network.config._attn_implementation = "eager"
        self.batch = batch
        self.lengths = batch.cu_seqlens.diff().tolist()
        self.is_real = self._pad(torch.ones_like(batch.input_ids)).bool()

    def _pad(self, tensor: torch.Tensor) -> torch.Tensor:
        return nn.utils.rnn.pad_sequence(list(tensor.split(self.lengths)), batch_first=True)

    def run(self, network: Network, input_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids [T] -> (logits [T, ...], hidden states [T, H])."""
        output = network(
            input_ids=self._pad(input_ids),
            token_type_ids=self._pad(self.batch.token_type_ids),
            attention_mask=self.is_real.long(),
            output_hidden_states=True,
        )
        return output.logits[self.is_real], output.hidden_states[-1][self.is_real]

    def mlm_loss(self, network: Network) -> torch.Tensor:
        masked = self.batch.input_ids.clone()
        masked[self.batch.masked_positions] = self.batch.masked_ids
        slots = self.batch.masked_positions
        logits, _ = self.run(network, masked)
        return functional.cross_entropy(logits[slots], self.batch.input_ids[slots])


def expected_losses(padded: Padded, corrupted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(the MLM loss, the main network's loss), both means over the batch, in plain words."""
    model, batch = padded.model, padded.batch
    name, slots, original = model.objective.name, batch.masked_positions, batch.input_ids
    if name == "mlm":
        return padded.mlm_loss(model.masked_lm), torch.zeros(())
    mlm_loss = padded.mlm_loss(model.generator)
    main = next(iter(model.networks().values()))
    logits, hidden = padded.run(main, corrupted)
    is_replaced = (corrupted != original).float()
    if name == "electra":
        return mlm_loss, functional.binary_cross_entropy_with_logits(logits, is_replaced)
    if name == "electra_masked_only":
        return mlm_loss, functional.binary_cross_entropy_with_logits(
            logits[slots], is_replaced[slots]
        )
    if name == "replace_mlm":
        return mlm_loss, functional.cross_entropy(logits[slots], original[slots])
    copies = torch.sigmoid(model.copy_gate(hidden))  # [T, 1]
    one_hot = functional.one_hot(corrupted, VOCAB_SIZE)
    probabilities = copies * one_hot + (1 - copies) * logits.softmax(1)
    right = probabilities.gather(1, original[:, None])
    return mlm_loss, -right.log().mean()


def corrupted_text(model: Objective, batch: Batch) -> torch.Tensor:
    """What the main network reads; the noise of the batch fixes it."""
    if model.objective.name == "mlm":
        return batch.input_ids
    with torch.no_grad():
        return corrupt(model.generator, batch, model.objective, VOCAB_SIZE).input_ids


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_and_gradients_equal_slow_obvious_code(name, batch):
    model = make_model(name)
    padded = Padded(model, batch)
    mlm_loss, main_loss = expected_losses(padded, corrupted_text(model, batch))
    expected = 0.7 * mlm_loss + 3.0 * main_loss
    expected.backward()
    output = run_objective(model, batch)
    output.loss.backward()
    assert output.loss.item() == pytest.approx(expected.item(), rel=2e-6)
    wanted = dict(padded.model.named_parameters())
    assert wanted.keys() == dict(model.named_parameters()).keys()
    for parameter_name, parameter in model.named_parameters():
        gradient = wanted[parameter_name].grad
        scale = gradient.abs().max().clamp_min(1.0)
        assert (parameter.grad - gradient).abs().max() <= 1e-5 * scale, parameter_name


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_and_sums_do_not_depend_on_the_split(name, batch):
    model = make_model(name)
    whole = run_objective(model, batch)
    outputs = [run_objective(model, part, batch) for part in batch.split(3)]
    assert sum(o.loss.item() for o in outputs) == pytest.approx(whole.loss.item(), rel=1e-5)
    for counted, value in whole.sums.items():
        parts = sum(float(output.sums[counted]) for output in outputs)
        assert parts == pytest.approx(float(value), rel=1e-5), counted


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_parameter_has_a_gradient(name, batch):
    model = make_model(name)
    run_objective(model, batch).loss.backward()
    for parameter_name, parameter in model.named_parameters():
        # A key's bias moves all scores of a query alike, which softmax does not see.
        if not parameter_name.endswith("key.bias"):
            assert parameter.grad.abs().max() > 0, parameter_name


@pytest.mark.parametrize(
    ("name", "networks", "counted"),
    [
        ("electra", ["discriminator", "generator"], {"predicted", "judged"}),
        ("electra_masked_only", ["discriminator", "generator"], {"predicted", "judged"}),
        ("mlm", ["masked_lm"], {"predicted"}),
        ("replace_mlm", ["masked_lm", "generator"], {"predicted", "words"}),
        ("all_tokens_mlm", ["masked_lm", "generator"], {"predicted", "words"}),
    ],
)
def test_an_objective_counts_what_it_has(name, networks, counted, batch):
    model = make_model(name)
    assert list(model.networks()) == networks
    sums = run_objective(model, batch).sums
    parts = ("predicted", "judged", "words")
    assert {part for part in parts if getattr(sums, part) > 0} == counted
    all_tokens = {"electra": "judged", "all_tokens_mlm": "words"}
    if name in all_tokens:
        assert getattr(sums, all_tokens[name]) == batch.num_tokens
    else:
        assert max(sums.judged, sums.words) in (0, batch.num_masked)


def test_masked_only_judges_the_masked_positions(batch):
    output = run_objective(make_model("electra_masked_only"), batch)
    assert torch.equal(output.judgements.positions, batch.masked_positions)
    assert len(output.judgements.logits) == batch.num_masked
    # What is replaced is always among them.
    assert output.sums.rtd_replaced == output.sums.replaced


@pytest.mark.parametrize("name", ["electra", "electra_masked_only", "replace_mlm"])
@pytest.mark.parametrize("uniform", [False, True])
def test_disallow_correct_makes_every_sample_a_replacement(name, uniform, batch):
    model = make_model(name, disallow_correct=True, uniform_generator=uniform)
    sums = run_objective(model, batch).sums
    assert sums.sampled_correct == 0
    assert sums.replaced == batch.num_masked


def test_a_uniform_generator_is_no_network(batch):
    model = make_model("electra", uniform_generator=True)
    assert list(model.networks()) == ["discriminator"]
    output = run_objective(model, batch)
    assert output.sums.predicted == 0
    assert output.loss.item() == pytest.approx(
        3.0 * output.sums.rtd_loss.item() / batch.num_tokens, rel=1e-6
    )


def test_a_low_temperature_samples_the_likeliest_token(batch):
    model = make_model("electra", temperature=1e-4)
    sums = run_objective(model, batch).sums
    assert sums.sampled_correct == sums.mlm_correct


@pytest.mark.parametrize(
    ("generator_weight", "discriminator_weight"), [(0.0, 1.0), (1.0, 0.0), (2.0, 5.0)]
)
def test_the_loss_is_the_weighted_sum(generator_weight, discriminator_weight, batch):
    model = make_model(
        "electra",
        generator_loss_weight=generator_weight,
        discriminator_loss_weight=discriminator_weight,
    )
    output = run_objective(model, batch)
    mlm = output.sums.mlm_loss / batch.num_masked
    rtd = output.sums.rtd_loss / batch.num_tokens
    expected = generator_weight * mlm + discriminator_weight * rtd
    assert output.loss.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(("width", "depth", "sizes"), [(0.5, 1.0, (16, 2)), (0.25, 0.5, (8, 1))])
def test_the_generator_has_its_share_of_width_and_depth(width, depth, sizes):
    config = tiny_config(model={"generator_width": width, "generator_depth": depth})
    model = build_objective(config.model, config.objective, VOCAB_SIZE, pad_id=0)
    generator = model.generator.config
    assert (generator.hidden_size, generator.num_hidden_layers) == sizes
    assert generator.intermediate_size == 64 * sizes[0] // 32


@pytest.mark.parametrize(
    ("options", "weight"),
    [
        ({}, 50.0),
        ({"name": "electra_masked_only"}, 50.0),
        ({"name": "replace_mlm"}, 1.0),
        ({"name": "all_tokens_mlm"}, 1.0),
        ({"name": "all_tokens_mlm", "discriminator_loss_weight": 7.0}, 7.0),
    ],
)
def test_a_word_loss_counts_as_much_as_the_generators(options, weight):
    assert tiny_config(objective=options).objective.discriminator_loss_weight == weight


@pytest.mark.parametrize(
    ("name", "loss"),
    [("electra", 2.6), ("mlm", 1.4), ("electra_masked_only", 2.6), ("replace_mlm", 10.4)],
)
def test_the_logged_loss_is_the_weighted_sum_of_the_means(name, loss):
    sums = {
        "mlm_loss": 8.0, "predicted": 4, "mlm_masked_loss": 6.0, "shown_masks": 3,
        "mlm_correct": 1, "sampled_correct": 1, "rtd_loss": 4.0, "judged": 10, "rtd_correct": 9,
        "rtd_found": 1, "rtd_flagged": 2, "rtd_replaced": 2, "replaced": 2, "word_loss": 6.0,
        "words": 2, "word_correct": 1, "tokens": 10, "masked": 4,
    }  # fmt: skip
    assert make_model(name).metrics(sums)["loss"] == pytest.approx(loss)


def test_a_uniform_generator_adds_nothing_to_the_logged_loss():
    sums = {"rtd_loss": 4.0, "judged": 10, "rtd_correct": 9, "rtd_found": 1, "rtd_flagged": 2}
    sums |= {"rtd_replaced": 2, "replaced": 2, "sampled_correct": 1, "tokens": 10, "masked": 4}
    metrics = make_model("electra", uniform_generator=True).metrics(sums)
    assert metrics["loss"] == pytest.approx(3.0 * 0.4)
    assert metrics["mlm_loss"] is None


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_names_of_metrics_are_those_that_are_logged(name):
    model = make_model(name)
    of_step, held_out = model.metric_names()
    assert list(model.metrics({"tokens": 0, "masked": 0})) == of_step
    ranking = ["rtd_auc", "rtd_content_auc"] if name.startswith("electra") else []
    assert held_out == [*of_step, *ranking]


def test_gradient_checkpointing_reaches_every_network():
    model = make_model("electra")
    assert not any(network.is_gradient_checkpointing for network in model.networks().values())
    model.enable_gradient_checkpointing()
    assert all(network.is_gradient_checkpointing for network in model.networks().values())


@pytest.mark.parametrize(
    ("options", "is_counted"),
    [
        ({}, True),
        ({"uniform_generator": True}, False),
        ({"name": "electra_masked_only"}, False),
        ({"name": "mlm"}, False),
    ],
)
def test_the_authors_count_only_runs_like_theirs(options, is_counted):
    config = tiny_config(objective=options)
    flops = objective_class(config.objective.name).authors_flops(config, VOCAB_SIZE)
    assert (flops is not None) == is_counted
