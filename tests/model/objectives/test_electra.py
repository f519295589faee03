import copy

import pytest
import torch
from conftest import VOCAB_SIZE, run_objective, tiny_config, tiny_reader
from torch import nn
from transformers import ElectraForMaskedLM, ElectraForPreTraining

from electra_cli.batch import Batch
from electra_cli.model.layers.attention import PackedLayout
from electra_cli.model.networks import count_parameters
from electra_cli.model.objectives.electra import ElectraObjective

NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def make_model(seed: int = 0, **model_options: object) -> ElectraObjective:
    config = tiny_config(model={**NO_DROPOUT, **model_options})
    torch.manual_seed(seed)
    model = ElectraObjective(config.model, config.objective, VOCAB_SIZE, pad_id=0)
    with torch.no_grad():  # away from the small initial weights, so that attention matters
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def make_batch(num_windows: int = 16) -> Batch:
    config = tiny_config()
    return tiny_reader(config).read(0, 0, num_windows)


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, wanted in expected.items():
        scale = wanted.abs().max().clamp_min(1.0)
        assert (found[name] - wanted).abs().max() <= 1e-5 * scale, name


def pad(batch: Batch) -> dict[str, torch.Tensor]:
    """Hugging Face's own inputs, one window a row."""
    lengths = batch.cu_seqlens.diff().tolist()

    def rows(tensor: torch.Tensor) -> torch.Tensor:
        return nn.utils.rnn.pad_sequence(list(tensor.split(lengths)), batch_first=True)

    return {
        "input_ids": rows(batch.input_ids),
        "token_type_ids": rows(batch.token_type_ids),
        "attention_mask": rows(torch.ones_like(batch.input_ids)),
    }


HUGGING_FACE = {"generator": ElectraForMaskedLM, "discriminator": ElectraForPreTraining}


@pytest.mark.parametrize("which", HUGGING_FACE)
@pytest.mark.parametrize("equal_lengths", [False, True])
def test_packed_equals_hugging_face_padded(which, equal_lengths):
    batch = make_batch()
    if equal_lengths:  # nothing is padded
        lengths = batch.cu_seqlens.diff()
        windows = [b for b in batch.split(1) if b.num_tokens == lengths.max()]
        from electra_cli.data.batches import join_batches

        batch = join_batches(windows[:4])
        assert all(group.is_real is None for group in PackedLayout(batch).grouped(4).groups)
    model = make_model()
    packed = getattr(model, which)
    config = copy.deepcopy(packed.config)
    config._attn_implementation = "eager"
    padded = HUGGING_FACE[which](config)
    padded.load_state_dict(packed.state_dict())
    padded.electra.embeddings.word_embeddings.padding_idx = None

    inputs = pad(batch)
    expected = padded(**inputs).logits[inputs["attention_mask"].bool()]
    found = packed(
        input_ids=batch.input_ids[None],
        token_type_ids=batch.token_type_ids[None],
        position_ids=batch.position_ids[None],
        layout=PackedLayout(batch),
    ).logits[0]
    assert (found - expected).abs().max() <= 1e-5
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0))
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    assert_close(gradients(packed), gradients(padded))


@pytest.mark.parametrize("micro_batch_size", [1, 4, 5])
def test_losses_and_gradients_do_not_depend_on_the_split(micro_batch_size):
    batch = make_batch()
    whole, parts = make_model(), make_model()
    expected = run_objective(whole, batch)
    expected.loss.backward()
    loss, sums = 0.0, None
    for part in batch.split(micro_batch_size):
        output = run_objective(parts, part, batch)
        output.loss.backward()
        loss += output.loss.item()
        values = torch.stack([value.double() for value in output.sums.values()])
        sums = values if sums is None else sums + values
    assert loss == pytest.approx(expected.loss.item(), rel=1e-5)
    whole_sums = torch.stack([value.double() for value in expected.sums.values()])
    torch.testing.assert_close(sums, whole_sums, rtol=1e-5, atol=1e-5)
    assert_close(gradients(parts), gradients(whole))


def test_embeddings_are_one_storage_in_both_models():
    model = make_model()
    generator, discriminator = model.generator, model.discriminator
    shared = discriminator.electra.embeddings
    assert generator.electra.embeddings is shared
    assert generator.generator_lm_head.weight is shared.word_embeddings.weight
    pointer = shared.word_embeddings.weight.data_ptr()
    assert generator.get_input_embeddings().weight.data_ptr() == pointer
    # embeddings_project is each model's own.
    assert (
        generator.electra.embeddings_project.weight.data_ptr()
        != discriminator.electra.embeddings_project.weight.data_ptr()
    )


def test_shared_parameters_are_counted_once():
    model = make_model()
    embeddings = sum(p.numel() for p in model.discriminator.electra.embeddings.parameters())
    assert count_parameters(model) == (
        count_parameters(model.discriminator) + count_parameters(model.generator) - embeddings
    )


def test_embeddings_of_its_own_are_as_wide_as_the_generator():
    model = make_model(tie_embeddings=False)
    words = model.generator.electra.embeddings.word_embeddings.weight
    assert words.shape == (VOCAB_SIZE, 16)
    assert model.generator.generator_lm_head.weight is words
    assert words.data_ptr() != model.discriminator.get_input_embeddings().weight.data_ptr()
    assert not hasattr(model.generator.electra, "embeddings_project")
    batch = make_batch()
    run_objective(model, batch).loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_tied_encoders_are_one_encoder_with_two_heads():
    model = make_model(tie_encoders=True, generator_width=1)
    assert model.generator.electra is model.discriminator.electra
    heads = {n.split(".")[1] for n, _ in model.named_parameters() if n.startswith("generator.")}
    assert heads == {"generator_predictions", "generator_lm_head"}
    batch = make_batch()
    whole = run_objective(model, batch)
    whole.loss.backward()
    encoder = model.generator.electra.encoder.layer[0].output.dense.weight
    both = encoder.grad.clone()
    parts = []
    for name in ("generator_loss_weight", "discriminator_loss_weight"):
        single = make_model(tie_encoders=True, generator_width=1)
        single.objective = single.objective.model_copy(update={name: 0.0})
        run_objective(single, batch).loss.backward()
        parts.append(single.generator.electra.encoder.layer[0].output.dense.weight.grad)
    torch.testing.assert_close(both, sum(parts), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"tie_encoders": True, "generator_width": 1}])
def test_every_parameter_has_a_gradient(options):
    model, batch = make_model(**options), make_batch()
    run_objective(model, batch).loss.backward()
    for name, parameter in model.named_parameters():
        # A key's bias moves all scores of a query alike, which softmax does not see.
        if not name.endswith("key.bias"):
            assert parameter.grad.abs().max() > 0, name


def test_the_discriminator_sees_samples_in_the_original_text(monkeypatch):
    model, batch = make_model(), make_batch()
    seen = {}
    original = ElectraObjective.discriminate

    def spy(self, batch, corrupted_ids, positions):
        seen["ids"] = corrupted_ids
        return original(self, batch, corrupted_ids, positions)

    monkeypatch.setattr(ElectraObjective, "discriminate", spy)
    output = run_objective(model, batch)
    is_masked = torch.zeros(batch.num_tokens, dtype=torch.bool)
    is_masked[batch.masked_positions] = True
    assert torch.equal(seen["ids"][~is_masked], batch.input_ids[~is_masked])
    assert torch.equal(output.judgements.is_replaced, seen["ids"] != batch.input_ids)
    # A sample equal to the original counts as original.
    sampled_right = is_masked & ~output.judgements.is_replaced
    assert output.sums.sampled_correct == sampled_right.sum()
    assert output.sums.replaced == output.judgements.is_replaced.sum()


def test_samples_carry_no_gradient_to_the_generator():
    batch = make_batch()
    model = make_model()
    model.objective = model.objective.model_copy(update={"generator_loss_weight": 0.0})
    run_objective(model, batch).loss.backward()
    encoder = model.generator.electra.encoder
    assert all(not p.grad.any() for p in encoder.parameters())


def test_gradient_checkpointing_changes_nothing():
    batch = make_batch()
    plain, saving = make_model(), make_model()
    for each in (saving.generator, saving.discriminator):
        each.activation_checkpointing_enable()
    run_objective(plain, batch).loss.backward()
    run_objective(saving, batch).loss.backward()
    assert_close(gradients(saving), gradients(plain))
