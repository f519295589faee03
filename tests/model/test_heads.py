"""Every kind of head on several families of encoders: packed against transformers' padded rows."""

import pytest
import torch
from tiny_tasks import labelled_batch
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
from electra_cli.model.heads import HeadSpec, as_exported, build_network, pack, packed_logits

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
