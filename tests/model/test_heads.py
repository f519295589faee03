"""Every kind of head on several families of encoders: packed against transformers' padded rows."""

import pytest
import torch
from safetensors.torch import save_file
from tiny_tasks import labelled_batch, tiny_encoder
from transformers import (
    AlbertConfig,
    AutoModel,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    ElectraForMaskedLM,
    ElectraForPreTraining,
    ModernBertConfig,
    RobertaConfig,
)

from electra_cli.config import OptimConfig
from electra_cli.errors import RunError
from electra_cli.model.cost.flops import TrainingFlops
from electra_cli.model.encoders import EncoderWeights
from electra_cli.model.export import _padded_outputs
from electra_cli.model.heads import (
    FinetuneModel,
    HeadSpec,
    LinearHead,
    as_exported,
    build_network,
    count_flops_of,
    is_discriminator,
    open_finetuned,
    pack,
    packed_logits,
)
from electra_cli.model.layer_rates import LayerRates
from electra_cli.model.objectives.objective import StepCounts

SIZES = {
    "vocab_size": 200,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "initializer_range": 0.3,
}
NO_SPECIAL_IDS = dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"))
CONFIGS = {
    "albert": lambda: AlbertConfig(**SIZES, embedding_size=16),
    "bert": lambda: BertConfig(**SIZES),
    "distilbert": lambda: DistilBertConfig(
        vocab_size=200, dim=32, hidden_dim=48, n_layers=2, n_heads=4, initializer_range=0.3
    ),
    "electra": lambda: ElectraConfig(**SIZES, embedding_size=16),
    "modernbert": lambda: ModernBertConfig(**SIZES, **NO_SPECIAL_IDS, classifier_pooling="mean"),
    "roberta": lambda: RobertaConfig(**{**SIZES, "pad_token_id": 1}),
}
SPECS = {
    "sequence": HeadSpec("sequence", ("a", "b", "c"), "single_label_classification"),
    "token": HeadSpec("token", ("O", "B-X")),
    "span": HeadSpec("span", ()),
}


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("family", CONFIGS)
def test_packed_heads_answer_as_transformers_does(family, kind):
    torch.manual_seed(0)
    base = AutoModel.from_config(CONFIGS[family]())
    encoder = EncoderWeights(base.config, base.state_dict())
    network = build_network(encoder, SPECS[kind], seed=0, is_trained=True)
    pack(network)
    batch = labelled_batch(kind)
    with torch.no_grad():
        found = packed_logits(network.eval(), kind, batch)
        expected = _padded_outputs(as_exported(network, kind), kind, batch)
    assert found.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", sorted(CONFIGS.keys() - {"modernbert"}))  # has a last norm
def test_the_first_layers_of_an_encoder_are_an_encoder(family):
    torch.manual_seed(0)
    base = AutoModel.from_config(CONFIGS[family]()).eval()
    first = EncoderWeights(base.config, base.state_dict()).first_layers(1)
    shorter = AutoModel.from_config(first.config).eval()
    shorter.load_state_dict(first.weights)
    assert (base.config.num_hidden_layers, first.num_layers) == (2, 1)
    ids = torch.tensor([[2, 7, 9, 3]])
    with torch.no_grad():
        states = base(ids, output_hidden_states=True).hidden_states
        torch.testing.assert_close(shorter(ids).last_hidden_state, states[1])


def test_random_weights_differ_from_the_encoders_and_the_head_is_the_same():
    torch.manual_seed(0)
    base = AutoModel.from_config(CONFIGS["electra"]())
    encoder = EncoderWeights(base.config, base.state_dict())
    trained, twin = (build_network(encoder, SPECS["sequence"], 3, each) for each in (True, False))
    other_seed = build_network(encoder, SPECS["sequence"], 4, False)
    table = "electra.embeddings.word_embeddings.weight"
    assert torch.equal(trained.state_dict()[table], base.state_dict()[table.partition(".")[2]])
    assert not torch.equal(twin.state_dict()[table], trained.state_dict()[table])
    assert not torch.equal(twin.state_dict()[table], other_seed.state_dict()[table])
    assert torch.equal(twin.classifier.linear.weight, trained.classifier.linear.weight)
    assert not torch.equal(twin.classifier.linear.weight, other_seed.classifier.linear.weight)


def test_the_settings_of_a_head_stand_in_its_config():
    """What pipeline() reads, and what transformers' class needs to be the same network."""
    spec = HeadSpec("token", ("O", "B-X", "I-X"), "single_label_classification", 0.2, 0.3)
    encoder = tiny_encoder()
    config = build_network(encoder, spec, seed=0, is_trained=True).config
    assert config.id2label == {0: "O", 1: "B-X", 2: "I-X"}
    assert config.label2id == {"O": 0, "B-X": 1, "I-X": 2}
    assert (config.problem_type, config.classifier_dropout) == (spec.problem_type, 0.2)
    assert config.hidden_dropout_prob == config.attention_probs_dropout_prob == 0.3
    assert encoder.config.hidden_dropout_prob == 0  # the encoder's own config stays
    span = build_network(encoder, SPECS["span"], seed=0, is_trained=True)
    assert span.config.num_labels == 2
    assert span.config.hidden_dropout_prob == 0
    assert not span.qa_outputs.bias.any()


def test_a_heads_dropout_acts_in_training_alone():
    head = LinearHead(8, 2, dropout=0.5)
    features = torch.ones(1, 3, 8)
    assert len({tuple(head.train()(features)[0].tolist()) for _ in range(8)}) > 1
    assert len({tuple(head.eval()(features)[0].tolist()) for _ in range(8)}) == 1


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


@pytest.mark.parametrize("num_labels", [3, 17])  # with the linear head, and transformers' own
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (2.0, 0.0), (1.0, 3.0), (-4.0, 0.5)])
def test_exported_outputs_are_in_the_units_of_the_labels(num_labels, scale, shift):
    spec = HeadSpec("sequence", tuple(map(str, range(num_labels))), "regression")
    network = build_network(tiny_encoder(), spec, seed=0, is_trained=True).eval()
    for parameter in network.classifier.parameters():
        torch.nn.init.normal_(parameter)  # the biases, too
    exported = as_exported(network, "sequence", scale, shift)
    assert not exported.training
    ids = torch.tensor([[2, 7, 9, 3]])
    with torch.no_grad():
        found, expected = exported(ids).logits, network(ids).logits * scale + shift
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", SPECS)
def test_a_model_that_was_saved_opens_as_what_it_is(kind, tmp_path):
    network = build_network(tiny_encoder(), SPECS[kind], seed=0, is_trained=True)
    saved = as_exported(network, kind)
    saved.save_pretrained(tmp_path)
    opened, found = open_finetuned(tmp_path)
    assert (type(opened), found) == (type(saved), kind)
    assert not is_discriminator(opened.config)
    for name, tensor in opened.state_dict().items():
        assert torch.equal(tensor, saved.state_dict()[name])


def test_a_discriminator_answers_for_tokens(tmp_path):
    ElectraForPreTraining(tiny_encoder().config).save_pretrained(tmp_path)
    opened, kind = open_finetuned(tmp_path)
    assert isinstance(opened, ElectraForPreTraining)
    assert kind == "token"
    assert is_discriminator(opened.config)
    assert not is_discriminator(ElectraConfig())


def test_what_answers_nothing_is_refused(tmp_path):
    encoder = tiny_encoder()
    ElectraForMaskedLM(encoder.config).save_pretrained(tmp_path / "generator")
    with pytest.raises(RunError, match="is a ElectraForMaskedLM, which answers nothing yet"):
        open_finetuned(tmp_path / "generator")
    encoder.config.architectures = None
    encoder.config.save_pretrained(tmp_path / "bare")
    with pytest.raises(RunError, match="model of an unknown kind"):
        open_finetuned(tmp_path / "bare")
    with pytest.raises(RunError, match="no model that transformers opens"):
        open_finetuned(tmp_path / "none")


def test_a_model_that_lacks_a_weight_is_refused(tmp_path):
    """transformers would draw it at random, and say so in a log that nobody reads."""
    network = build_network(tiny_encoder(), SPECS["token"], seed=0, is_trained=True)
    weights = as_exported(network, "token").state_dict()
    as_exported(network, "token").save_pretrained(tmp_path)
    for lost in ("classifier.bias", "classifier.weight"):
        del weights[lost]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RunError, match=r"lacks classifier\.bias and 1 more"):
        open_finetuned(tmp_path)


@pytest.mark.parametrize("kind", SPECS)
def test_a_new_head_is_drawn_as_the_authors_draw_it(kind):
    """Glorot uniform and biases 0; the encoder below keeps its weights."""
    encoder = tiny_encoder()
    network = build_network(encoder, SPECS[kind], seed=0, is_trained=True)
    head = {"sequence": "classifier.linear", "token": "classifier", "span": "qa_outputs"}[kind]
    linear = network.get_submodule(head)
    bound = (6 / (linear.in_features + linear.out_features)) ** 0.5
    assert 0.8 * bound < linear.weight.abs().max() <= bound
    assert not linear.bias.any()
    for name, tensor in network.electra.state_dict().items():
        assert torch.equal(tensor, encoder.weights[name])


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
