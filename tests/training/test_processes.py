"""A step shared by several processes is the step of one; here they are threads of this process."""

from dataclasses import replace
from itertools import islice

import pytest
import torch
from conftest import CPU, VOCAB_SIZE, tiny_config, tiny_reader
from played import Played, play

from electra_cli.config import PretrainConfig
from electra_cli.data.batches import Position, evaluation_batches, iter_batches
from electra_cli.errors import NonFiniteError, RunError
from electra_cli.metrics import StepMetrics
from electra_cli.model.objectives.registry import build_objective
from electra_cli.runs.training_batches import TrainingBatches
from electra_cli.training.place import Place, read_place
from electra_cli.training.processes import Processes
from electra_cli.training.run_state import BatchesState
from electra_cli.training.trainer import Trainer

RUN = {"batch_size": 25, "micro_batch_size": 5, "num_steps": 20}
DROPOUT = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}


def make_trainer(config: PretrainConfig, processes: Processes, precision: str = "fp32") -> Trainer:
    torch.manual_seed(config.run.seed)
    model = build_objective(config.model, config.objective, VOCAB_SIZE, pad_id=0)
    return Trainer(model, config, replace(CPU, precision=precision), processes)


def train(
    config: PretrainConfig, count: int, steps: int, precision: str = "fp32"
) -> tuple[dict[str, torch.Tensor], list[StepMetrics]]:
    """Weights and rows of so many processes, which must have the same ones."""

    def work(processes: Played) -> tuple[dict[str, torch.Tensor], list[StepMetrics], int]:
        trainer = make_trainer(config, processes, precision)
        shares = TrainingBatches(
            tiny_reader(config), config, BatchesState(), CPU.device, None, processes
        )
        rows = []
        for share in islice(shares, steps):
            trainer.train_step(iter([share]))
            rows.append(trainer.flush(0.0))
        shares.close()
        weights = {name: p.detach() for name, p in trainer.model.named_parameters()}
        return weights, rows, processes.num_reductions

    (weights, rows, _), *others = results = play(count, work)
    for other, _, _ in others:
        assert all(torch.equal(other[name], weight) for name, weight in weights.items())
    for _, other_rows, _ in others:
        assert [row.objective for row in other_rows] == [row.objective for row in rows]
    assert {reductions for _, _, reductions in results} == {0 if count == 1 else steps}
    return weights, rows


def assert_same_run(found, expected, loss: float = 1e-6, weight: float = 1e-5) -> None:
    for row, wanted in zip(found[1], expected[1], strict=True):
        assert row.loss == pytest.approx(wanted.loss, rel=loss)
        assert row.grad_norm == pytest.approx(wanted.grad_norm, rel=100 * loss)
        assert row.tokens_seen == wanted.tokens_seen
        assert row.train_flops == wanted.train_flops
        for name, value in wanted.objective.items():
            near = None if value is None else pytest.approx(value, rel=loss)
            assert row.objective[name] == near, name
    for name, wanted_weight in expected[0].items():
        torch.testing.assert_close(found[0][name], wanted_weight, rtol=0, atol=weight)


@pytest.mark.slow
def test_any_number_of_processes_trains_the_run_of_one():
    """With dropout, an odd number of windows, and a batch that an epoch's end divides."""
    config = tiny_config(model=DROPOUT, run={**RUN, "batch_size": 15, "micro_batch_size": 1})
    batches = iter_batches(tiny_reader(config), 15, Position())
    epochs = [(place.epoch, place.index) for _, place in islice(batches, 9)]
    assert epochs[6][0] == 1
    assert 0 < epochs[6][1] < 15
    alone = train(config, 1, 9)
    for count in (2, 3, 4):
        assert_same_run(train(config, count, 9), alone)


@pytest.mark.parametrize(
    ("objective", "model"),
    [
        ({"name": "mlm"}, {}),
        ({}, {"tie_encoders": True, "generator_width": 1}),
        pytest.param({"name": "electra_masked_only"}, {}, marks=pytest.mark.slow),
        pytest.param({"name": "replace_mlm"}, {}, marks=pytest.mark.slow),
        pytest.param({"name": "all_tokens_mlm"}, {}, marks=pytest.mark.slow),
        pytest.param({"uniform_generator": True}, {}, marks=pytest.mark.slow),
        pytest.param({"disallow_correct": True, "temperature": 0.5}, {}, marks=pytest.mark.slow),
    ],
)
def test_every_objective_can_be_shared(objective, model):
    run = {**RUN, "batch_size": 12, "micro_batch_size": 3}
    config = tiny_config(model={**DROPOUT, **model}, objective=objective, run=run)
    alone = train(config, 1, 4)
    for count in (2, 4):
        assert_same_run(train(config, count, 4), alone)


def test_a_scaled_gradient_is_added_up_before_it_is_judged():
    """fp16: an overflow in one process skips the update of all, and halves every scale."""
    config = tiny_config(run={**RUN, "batch_size": 12, "micro_batch_size": 3})

    def work(processes: Played) -> tuple[float, bool]:
        trainer = make_trainer(config, processes, "fp16")
        weights = [p.detach().clone() for p in trainer.model.parameters()]
        shares = TrainingBatches(
            tiny_reader(config), config, BatchesState(), CPU.device, None, processes
        )
        bias = trainer.model.discriminator.discriminator_predictions.dense_prediction.bias
        if processes.rank == 1:
            bias.register_hook(lambda grad: grad + float("inf"))
        trainer.train_step(iter([next(shares)]))
        shares.close()
        is_kept = all(map(torch.equal, weights, trainer.model.parameters()))
        return trainer.state().scaler["scale"], is_kept

    assert play(2, work) == [(32_768.0, True)] * 2


def test_a_loss_that_is_not_finite_in_one_process_is_the_same_error_in_all():
    config = tiny_config(run={**RUN, "micro_batch_size": 1})

    def work(processes: Played) -> str:
        trainer = make_trainer(config, processes)
        shares = TrainingBatches(
            tiny_reader(config), config, BatchesState(), CPU.device, None, processes
        )
        trainer.train_step(shares)
        if processes.rank == 1:
            with torch.no_grad():
                trainer.model.discriminator.discriminator_predictions.dense.bias[0] = float("nan")
        with pytest.raises(NonFiniteError, match="step 2") as raised:
            trainer.train_step(shares)
        shares.close()
        return str(raised.value)

    first, *others = play(3, work)
    assert others == [first, first]


def test_held_out_figures_are_those_of_one_process_bit_for_bit():
    config = tiny_config(run=RUN)
    held_out = evaluation_batches(tiny_reader(config), 22, 4)
    (alone,) = play(1, lambda processes: make_trainer(config, processes).evaluate(held_out))
    for count in (2, 4, 7):  # of seven, one has no batch
        found = play(count, lambda processes: make_trainer(config, processes).evaluate(held_out))
        assert found == [alone] * count


def test_a_stop_asked_of_one_process_stops_all_at_the_same_step():
    config = tiny_config(run=RUN)

    def work(processes: Played) -> list[bool]:
        trainer = make_trainer(config, processes)
        shares = TrainingBatches(
            tiny_reader(config), config, BatchesState(), CPU.device, None, processes
        )
        stops = []
        for step in range(3):
            processes.wants_stop = processes.rank == 1 and step == 1
            trainer.train_step(shares)
            stops.append(trainer.must_stop(wish=False))
        shares.close()
        return stops

    assert play(3, work) == [[False, True, False]] * 3


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, Place()),
        ({"WORLD_SIZE": "1", "RANK": "0"}, Place()),
        ({"WORLD_SIZE": "4", "RANK": "3"}, Place(3, 4, 3, 4)),
        (
            {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"},
            Place(3, 4, 1, 2),
        ),
        ({"WORLD_SIZE": "4"}, "RANK"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK=2"),
        ({"WORLD_SIZE": "2", "RANK": "x"}, "RANK=x"),
        ({"WORLD_SIZE": "two", "RANK": "0"}, "WORLD_SIZE=two"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_PORT": ""}, "MASTER_PORT"),
    ],
)
def test_a_launcher_says_which_process_this_is(monkeypatch, variables, found):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"MASTER_ADDR": "here", "MASTER_PORT": "1", **variables}.items():
        monkeypatch.setenv(name, value)
    if isinstance(found, Place):
        assert read_place() == found
    else:
        with pytest.raises(RunError, match=found):
            read_place()
