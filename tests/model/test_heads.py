"""Every kind of head on several families of encoders: packed against transformers' padded rows."""

import pytest
import torch
from tiny_tasks import SPECS, labelled_batch, tiny_encoder
from transformers import (
    AlbertConfig,
    AutoModel,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    RobertaConfig,
)

from electra_cli.model.encoders import EncoderWeights
from electra_cli.model.export import _padded_outputs
from electra_cli.model.finetune_model import pack, packed_logits
from electra_cli.model.heads import HeadSpec, LinearHead, as_exported, build_network

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
