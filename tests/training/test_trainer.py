from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from conftest import (
    CPU,
    TOKEN_ROLES,
    VOCAB_SIZE,
    MemoryTokens,
    random_documents,
    take_steps,
    tiny_config,
    tiny_reader,
)

from electra_cli.config import PretrainConfig
from electra_cli.data.batches import Position, WindowReader, iter_batches
from electra_cli.errors import NonFiniteError
from electra_cli.model.objectives.electra import ElectraObjective
from electra_cli.training import trainer as trainer_module
from electra_cli.training.device import Compute
from electra_cli.training.trainer import Trainer


def make_trainer(config: PretrainConfig, precision: str = "fp32") -> Trainer:
    torch.manual_seed(config.run.seed)
    model = ElectraObjective(config.model, config.objective, VOCAB_SIZE, pad_id=0)
    return Trainer(model, config, replace(CPU, precision=precision))


def batches(config: PretrainConfig):
    stream = iter_batches(tiny_reader(config), config.run.batch_size, Position())
    return (batch for batch, _ in stream)


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}


def test_metrics_cover_all_steps_since_the_last_row():
    config = tiny_config()
    source = list(zip(range(4), batches(config), strict=False))
    trainer = make_trainer(config)
    for _ in take_steps(trainer, (batch for _, batch in source), until=4):
        pass
    metrics = trainer.flush(epoch=0.5)
    own = metrics.objective
    assert metrics.step == 4
    assert metrics.epoch == 0.5
    assert metrics.tokens_seen == sum(batch.num_tokens for _, batch in source)
    assert metrics.loss == pytest.approx(own["mlm_loss"] + 50 * own["rtd_loss"])
    assert 0 < own["replaced_fraction"] < 0.2
    assert metrics.train_flops > 0
    speed = metrics.tokens_seen / metrics.elapsed_seconds
    assert metrics.tokens_per_second == pytest.approx(speed)


def test_each_row_has_the_speed_since_the_row_before():
    config = tiny_config()
    trainer, source = make_trainer(config), batches(config)
    rows = []
    for until in (1, 3):
        list(take_steps(trainer, source, until))
        rows.append(trainer.flush(0.0))
    first, second = rows
    seconds = second.elapsed_seconds - first.elapsed_seconds
    tokens = second.tokens_seen - first.tokens_seen
    assert second.tokens_per_second == pytest.approx(tokens / seconds)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_state_goes_on_bit_for_bit(dropout):
    options = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    config = tiny_config(model=options)
    whole = make_trainer(config)
    source = [batch for _, batch in zip(range(6), batches(config), strict=False)]
    list(take_steps(whole, source, until=6))

    first = make_trainer(config)
    list(take_steps(first, source, until=3))
    state = first.state()
    copied = {
        group: {name: tensor.clone() for name, tensor in tensors.items()}
        for group, tensors in first.tensors().items()
    }
    second = make_trainer(config)
    with torch.no_grad():
        for weight in second.model.parameters():
            weight.zero_()
    second._nonfinite_step.fill_(2)  # a state that goes on forgets what was held back
    second.load(copied, state)
    list(take_steps(second, source[3:], until=6))
    for name, weight in weights(whole).items():
        assert torch.equal(weights(second)[name], weight), name
    expected, found = whole.flush(0.0), second.flush(0.0)
    assert found.loss == expected.loss  # the sums since the last row went on, too
    assert found.tokens_seen == expected.tokens_seen
    assert found.train_flops == expected.train_flops


def test_micro_batches_train_the_same_model():
    options = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    results = []
    for micro_batch_size in (8, 2):
        config = tiny_config(model=options, run={"micro_batch_size": micro_batch_size})
        trainer = make_trainer(config)
        list(take_steps(trainer, batches(config), until=3))
        results.append(trainer.flush(0.0))
    assert results[1].loss == pytest.approx(results[0].loss, rel=1e-5)
    assert results[1].grad_norm == pytest.approx(results[0].grad_norm, rel=1e-4)
    assert results[1].tokens_seen == results[0].tokens_seen


def test_kept_gradients_train_the_same_model():
    """As with CUDA graphs, which write into the same tensors in every step."""
    plain, kept = (make_trainer(tiny_config()) for _ in range(2))
    kept.model.keeps_gradients = True
    for trainer in (plain, kept):
        stream = batches(tiny_config())
        trainer.train_step(stream)
        before = [parameter.grad for parameter in trainer.model.parameters()]
        for _ in range(2):
            trainer.train_step(stream)
    after = [parameter.grad for parameter in kept.model.parameters()]
    assert all(one is other for one, other in zip(before, after, strict=True))
    same = weights(kept)
    assert all(torch.equal(tensor, same[name]) for name, tensor in weights(plain).items())


@pytest.mark.parametrize(
    ("step", "value"), [(1, float("nan")), (2, float("nan")), (2, float("inf"))]
)
def test_a_nonfinite_loss_stops_before_the_update_and_names_the_documents(step, value):
    config = tiny_config()
    trainer = make_trainer(config)
    source = [batch for _, batch in zip(range(6), batches(config), strict=False)]
    stepping = take_steps(trainer, source, until=6)
    if step == 2:
        next(stepping)
    with torch.no_grad():
        trainer.model.discriminator.discriminator_predictions.dense.bias[0] = value
    before = weights(trainer)
    moments = trainer.tensors()["optimizer"]  # by reference
    moments_before = {name: moment.clone() for name, moment in moments.items()}
    with pytest.raises(NonFiniteError) as raised:
        next(stepping)
    documents = sorted(set(source[step - 1].document_ids.tolist()))
    assert f"step {step} is not finite (training documents {documents[0]}," in str(raised.value)
    assert "learning-rate" in raised.value.hint
    for name, weight in weights(trainer).items():
        torch.testing.assert_close(weight, before[name], rtol=0, atol=0, equal_nan=True)
    for name, moment in moments.items():
        assert torch.equal(moment, moments_before[name]), name
    with pytest.raises(NonFiniteError):
        trainer.state()  # never saved


def test_a_state_of_another_precision_goes_on_with_a_new_scale():
    config = tiny_config()
    trainer = make_trainer(config)
    source = [batch for _, batch in zip(range(2), batches(config), strict=False)]
    list(take_steps(trainer, source, until=1))
    for precision in ("fp16", "fp32"):
        other = make_trainer(config, precision=precision)
        other.load(trainer.tensors(), trainer.state())
        list(take_steps(other, source[1:], until=2))
        trainer = other
        trainer.step = 1
    assert trainer.state().scaler == {}


class Unwatched(Compute):
    """Arithmetic of the CPU, of which the host learns at the next row of the log: as of a GPU."""

    is_on_cpu = False
    can_skip_updates = True


def test_later_updates_are_held_back_until_the_host_looks():
    config = tiny_config()
    trainer = make_trainer(config)
    trainer._compute = Unwatched(*vars(CPU).values())
    source = [batch for _, batch in zip(range(4), batches(config), strict=False)]
    trainer.train_step(iter([source[0]]))
    bias = trainer.model.discriminator.discriminator_predictions.dense_prediction.bias
    with torch.no_grad():
        bias.fill_(float("nan"))
    trainer.train_step(iter([source[1]]))
    with torch.no_grad():
        bias.fill_(0.0)
    before = weights(trainer)
    trainer.train_step(iter([source[2]]))
    assert all(torch.equal(weight, before[name]) for name, weight in weights(trainer).items())
    with pytest.raises(NonFiniteError, match="step 2"):
        trainer.flush(0.0)


def test_memory_and_products_are_set_up_for_the_device(monkeypatch):
    done = []
    monkeypatch.setattr(trainer_module, "set_float32_products", done.append)
    monkeypatch.setattr(trainer_module, "keep_freed_memory", lambda: done.append("kept"))
    config = tiny_config()
    model = make_trainer(config).model
    assert done == [CPU, "kept"]
    other = Unwatched(*vars(CPU).values())
    Trainer(model, config, other)
    assert done[2:] == [other]  # what keeps freed memory is for CPUs


def test_evaluation_is_repeatable_and_leaves_no_trace():
    config = tiny_config()
    held_out = [batch for _, batch in zip(range(3), batches(config), strict=False)]
    trainer = make_trainer(config)
    random_state = torch.get_rng_state()
    first = trainer.evaluate(held_out)
    assert trainer.evaluate(held_out) == first
    assert torch.equal(torch.get_rng_state(), random_state)
    assert trainer.model.training
    assert 0 < first["rtd_auc"] < 1


def test_bf16_trains_in_mixed_precision():
    config = tiny_config()
    trainer = make_trainer(config, precision="bf16")
    list(take_steps(trainer, batches(config), until=2))
    metrics = trainer.flush(0.0)
    assert all(p.dtype == torch.float32 for p in trainer.model.parameters())
    exact = make_trainer(config)
    list(take_steps(exact, batches(config), until=2))
    expected = exact.flush(0.0)
    assert metrics.loss != expected.loss
    assert metrics.loss == pytest.approx(expected.loss, rel=0.02)


def test_fp16_scales_its_gradients_and_goes_on_after_an_overflow():
    """The scaler's logic, on the CPU's own float16 arithmetic; the command refuses it there."""
    config = tiny_config()
    trainer = make_trainer(config, precision="fp16")
    source = [batch for _, batch in zip(range(6), batches(config), strict=False)]
    stepping = take_steps(trainer, source, until=6)
    scales = [trainer.state().scaler["scale"]]
    before = weights(trainer)
    for _ in stepping:
        scales.append(trainer.state().scaler["scale"])
    metrics = trainer.flush(0.0)
    assert trainer.step == 6
    assert metrics.loss == metrics.loss  # no NaN
    assert all(p.dtype == torch.float32 for p in trainer.model.parameters())
    after = weights(trainer)
    assert any(not torch.equal(after[name], weight) for name, weight in before.items())
    assert all(torch.isfinite(weight).all() for weight in after.values())
    # The scale starts at 65536; each overflow skips an update and halves it.
    assert scales[0] == 65536.0
    assert min(scales) < scales[0]
    assert all(second in (first, first / 2) for first, second in pairwise(scales))
    assert min(scales) < scales[0]  # one did overflow


def test_fp16_gradients_are_clipped_at_their_true_size():
    norms = []
    for precision in ("fp32", "fp16"):
        config = tiny_config(optim={"max_grad_norm": 1e-3})
        trainer = make_trainer(config, precision)
        state = trainer.state()
        scaler = {**state.scaler, "scale": 1024.0} if precision == "fp16" else {}
        trainer.load(trainer.tensors(), state.model_copy(update={"scaler": scaler}))
        list(take_steps(trainer, batches(config), until=1))
        gradients = [p.grad for p in trainer.model.parameters() if p.grad is not None]
        assert torch.nn.utils.get_total_norm(gradients) == pytest.approx(1e-3, rel=1e-3)
        norms.append(trainer.flush(0.0).grad_norm)
    assert norms[1] == pytest.approx(norms[0], rel=0.05)


def test_learning_reduces_both_losses():
    config = tiny_config(
        run={"num_steps": 60, "eval_every": 60},
        optim={"learning_rate": 5e-3, "num_warmup_steps": 5},
    )
    trainer = make_trainer(config)
    # Few of the words there are: their frequencies alone are worth learning.
    tokens = MemoryTokens(random_documents(40, 120, vocab_size=20, seed=0))
    reader = WindowReader(tokens, TOKEN_ROLES, config.data, config.objective.mask_fraction, 0)
    source = [
        batch for (batch, _), _ in zip(iter_batches(reader, 8, Position()), range(60), strict=False)
    ]
    list(take_steps(trainer, source[:10], until=10))
    first = trainer.flush(0.0)
    list(take_steps(trainer, source[10:], until=60))
    last = trainer.flush(0.0)
    assert last.objective["mlm_loss"] < first.objective["mlm_loss"]
    assert last.objective["rtd_loss"] < first.objective["rtd_loss"]


def test_flops_count_the_square_of_every_window():
    config = tiny_config()
    trainer = make_trainer(config)
    source = [batch for _, batch in zip(range(2), batches(config), strict=False)]
    for _ in take_steps(trainer, source, until=2):
        pass
    flops = trainer.model.flops
    expected = sum(
        flops.count(
            batch.num_tokens,
            batch.num_masked,
            sum(int(length) ** 2 for length in batch.cu_seqlens.diff()),
        )
        for batch in source
    )
    assert trainer.flush(0.0).train_flops == expected


def test_a_nonfinite_loss_counts_under_fp16_where_gradients_may_overflow():
    config = tiny_config()
    trainer = make_trainer(config, precision="fp16")
    trainer._compute = Unwatched(*vars(trainer._compute).values())
    bias = trainer.model.discriminator.discriminator_predictions.dense_prediction.bias
    with torch.no_grad():
        bias.fill_(float("nan"))
    for _ in take_steps(trainer, batches(config), until=1):
        pass
    with pytest.raises(NonFiniteError, match="step 1 is not finite"):
        trainer.flush(0.0)


def test_of_many_documents_the_first_eight_are_named():
    config = tiny_config(run={"batch_size": 16, "micro_batch_size": 16})
    trainer = make_trainer(config)
    source = [next(batches(config))]
    documents = sorted(set(source[0].document_ids.tolist()))
    assert len(documents) > 8
    with torch.no_grad():
        trainer.model.discriminator.discriminator_predictions.dense.bias[0] = float("nan")
    with pytest.raises(NonFiniteError) as raised:
        list(take_steps(trainer, source, until=1))
    named = ", ".join(map(str, documents[:8]))
    assert f"(training documents {named} and {len(documents) - 8} more)" in str(raised.value)


def test_a_gpu_is_asked_for_nonfinite_losses_long_before_a_row_that_is_far_away(monkeypatch):
    """Until then the documents of every step are kept."""
    monkeypatch.setattr(trainer_module, "_MOST_STEPS_UNCHECKED", 3)
    config = tiny_config(run={"num_steps": 12})
    trainer = make_trainer(config)
    trainer._compute = Unwatched(*vars(trainer._compute).values())
    for step in take_steps(trainer, batches(config), until=4):
        assert len(trainer._recent_documents) == step % 3
    with torch.no_grad():
        trainer.model.discriminator.discriminator_predictions.dense.bias[0] = float("nan")
    with pytest.raises(NonFiniteError, match="step 5 is not finite"):
        list(take_steps(trainer, batches(config), until=12))
    assert trainer.step == 6
