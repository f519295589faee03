"""Which class an objective is: the file of its name in this folder holds it."""

from importlib import import_module
from typing import get_args

from electra_cli.config import ModelConfig, ObjectiveConfig, ObjectiveName, PretrainConfig
from electra_cli.model.cost.flops import TrainingFlops
from electra_cli.model.objectives.objective import Objective


def objective_class(name: ObjectiveName) -> type[Objective]:
    """The class of an objective: OBJECTIVE in the file of its name. So no list is needed."""
    found: type[Objective] = import_module(f"electra_cli.model.objectives.{name}").OBJECTIVE
    return found


def build_objective(
    model: ModelConfig, objective: ObjectiveConfig, vocab_size: int, pad_id: int
) -> Objective:
    """The networks of `objective.name` with initial weights from torch's global generator."""
    return objective_class(objective.name)(model, objective, vocab_size, pad_id)


def training_flops(config: PretrainConfig, vocab_size: int) -> TrainingFlops:
    """Forward and backward operations of a config's objective."""
    objective = objective_class(config.objective.name)
    return objective.training_flops(config.model, config.objective, vocab_size)


def metric_names() -> tuple[list[str], list[str]]:
    """The metrics of all objectives, each once: (of training steps, of held-out text)."""
    step: dict[str, None] = {}
    held_out: dict[str, None] = {}
    for name in get_args(ObjectiveName):
        of_step, of_held_out = objective_class(name).metric_names()
        step |= dict.fromkeys(of_step)
        held_out |= dict.fromkeys(of_held_out)
    return list(step), list(held_out)
