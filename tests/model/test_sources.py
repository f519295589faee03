"""Networks made by transformers predict the same once they start a run, through packed batches."""

import pytest
import torch
from conftest import TOKEN_ROLES, VOCAB_SIZE, tiny_config, tiny_reader
from transformers import (
    BertConfig,
    BertForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    ElectraConfig,
    ElectraForMaskedLM,
    ElectraForPreTraining,
)

from electra_cli.errors import RunError
from electra_cli.model.export import padded_inputs
from electra_cli.model.networks import encode, predict_words
from electra_cli.model.objectives.registry import build_objective
from electra_cli.model.sources import open_network
from electra_cli.model.starting import start_from

SIZES = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 32,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A pair as the authors released theirs, with shared embeddings, and a BERT of their size."""
    torch.manual_seed(3)
    root = tmp_path_factory.mktemp("made")
    main = ElectraForPreTraining(ElectraConfig(**SIZES, embedding_size=24, initializer_range=0.3))
    small = {**SIZES, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    generator = ElectraForMaskedLM(ElectraConfig(**small, embedding_size=24, initializer_range=0.3))
    generator.electra.embeddings.load_state_dict(main.electra.embeddings.state_dict())
    bert = BertForMaskedLM(BertConfig(**SIZES, initializer_range=0.3))
    with torch.no_grad():
        for network in (generator, bert):
            head = network.get_output_embeddings()
            head.bias.normal_()
    main.save_pretrained(root / "a-discriminator")
    generator.save_pretrained(root / "a-generator")
    bert.save_pretrained(root / "bert")
    return root


@pytest.fixture
def batch():
    return tiny_reader(tiny_config()).read(0, 0, 6)


def model_of(embedding_size: int = 24, generator_width: float = 0.5, **model):
    options = {**model, "embedding_size": embedding_size, "generator_width": generator_width}
    config = tiny_config(model=options)
    torch.manual_seed(0)
    return build_objective(config.model, config.objective, VOCAB_SIZE, pad_id=0).eval()


def words_of(network, batch, positions):
    """Losses [N] and most probable words, with our own head over the vocabulary."""
    hidden = encode(network, batch.input_ids, batch)[positions]
    targets = batch.input_ids[positions]
    return predict_words(network, hidden, targets).losses


@torch.no_grad()
def theirs(network, batch):
    """Logits [T, ...] as users of transformers get them."""
    inputs = padded_inputs(network, batch)
    return network.eval()(**inputs).logits[inputs["attention_mask"].bool()]


def test_a_released_pair_predicts_the_same_on_packed_batches(folders, batch):
    model = model_of()
    names = [folders / "a-discriminator", folders / "a-generator"]
    loaded = start_from(model, *(open_network(str(name)) for name in names))
    assert [(each.new, each.left_over) for each in loaded] == [((), ()), ((), ())]
    with torch.no_grad():
        logits = model.discriminate(batch, batch.input_ids)
        losses = words_of(model.generator, batch, torch.arange(batch.num_tokens))
    expected = theirs(ElectraForPreTraining.from_pretrained(names[0]), batch)
    assert expected.std() > 0.1  # so that the comparison says something
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    words = theirs(ElectraForMaskedLM.from_pretrained(names[1]), batch)
    expected = torch.nn.functional.cross_entropy(words, batch.input_ids, reduction="none")
    assert expected.std() > 0.1
    torch.testing.assert_close(losses, expected, rtol=0, atol=1e-5)


def test_a_bert_predicts_the_same_as_a_generator(folders, batch):
    model = model_of(generator_width=1, tie_embeddings=False, generator_embedding_size=32)
    bert = open_network(str(folders / "bert"))
    loaded = start_from(model, None, bert)
    assert (loaded[0].source, loaded[0].loaded) == (None, ())
    # ELECTRA's head ends in a LayerNorm, too: nothing of BERT's is lost, but for its pooler.
    assert (loaded[1].new, loaded[1].left_over) == ((), ())
    with torch.no_grad():
        losses = words_of(model.generator, batch, torch.arange(batch.num_tokens))
    words = theirs(BertForMaskedLM.from_pretrained(folders / "bert"), batch)
    expected = torch.nn.functional.cross_entropy(words, batch.input_ids, reduction="none")
    torch.testing.assert_close(losses, expected, rtol=0, atol=1e-5)


def test_a_masked_language_model_starts_a_discriminator_without_its_head(folders):
    model = model_of(embedding_size=32)
    main, fresh = start_from(model, open_network(str(folders / "bert")), None)
    assert {name.split(".")[0] for name in main.new} == {"discriminator_predictions"}
    assert {name.split(".")[0] for name in main.left_over} == {
        "generator_predictions", "generator_lm_head",
    }  # fmt: skip
    # The fresh generator shares the embeddings, which are loaded by then.
    assert (fresh.source, fresh.loaded) == (None, ())
    assert not [name for name in fresh.new if "embeddings." in name]


def test_a_fresh_generator_of_its_own_starts_from_the_embeddings(folders):
    model = model_of(tie_embeddings=False, generator_embedding_size=24)
    source = open_network(str(folders / "a-discriminator"))
    _, fresh = start_from(model, source, None)
    assert fresh.source == f"{source.name}, embeddings"
    assert len(fresh.loaded) == 5
    ours = model.generator.electra.embeddings.word_embeddings.weight
    assert torch.equal(ours, source.weights["electra.embeddings.word_embeddings.weight"])
    assert model.generator.generator_lm_head.weight is ours


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda f: f.write_bytes(f.read_bytes()[:-100]), "no network that transformers opens"),
        (lambda f: f.write_bytes(b"{}"), "no network that transformers opens"),
        (lambda f: f.unlink(), "no network that transformers opens"),
    ],
)
def test_damaged_weights_are_refused(folders, tmp_path, damage, problem):
    import shutil

    copy = shutil.copytree(folders / "a-discriminator", tmp_path / "copy")
    damage(copy / "model.safetensors")
    with pytest.raises(RunError, match=problem) as raised:
        open_network(str(copy))
    assert "\n" not in str(raised.value)


def test_other_architectures_and_settings_are_named(folders, tmp_path):
    config = DistilBertConfig(vocab_size=20, dim=16, n_layers=1, n_heads=2, hidden_dim=16)
    DistilBertForMaskedLM(config).save_pretrained(tmp_path / "distil")
    with pytest.raises(RunError, match="is a distilbert, not ELECTRA or BERT"):
        open_network(str(tmp_path / "distil"))
    relu = ElectraConfig(**SIZES, embedding_size=24, hidden_act="relu")
    ElectraForPreTraining(relu).save_pretrained(tmp_path / "relu")
    with pytest.raises(RunError, match="hidden_act relu; the networks here have gelu"):
        open_network(str(tmp_path / "relu"))
    broken = ElectraForPreTraining.from_pretrained(folders / "a-discriminator")
    with torch.no_grad():
        broken.electra.embeddings.word_embeddings.weight[TOKEN_ROLES.mask_id, 0] = torch.nan
    broken.save_pretrained(tmp_path / "broken")
    with pytest.raises(RunError, match=r"word_embeddings\.weight and 0 more weights are not fin"):
        open_network(str(tmp_path / "broken"))
