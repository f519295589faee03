"""Every option of a pre-training run, once: name, type, default, bounds and help.

The YAML key, `--set`, validation, the table in docs/options.md (`python -m electra_cli.config`),
the saved config and the search space all come from here. Defaults are the authors' base recipe, so
that a preset lists only what differs from it (google-research/electra,
configure_pretraining.py; paper, table 6).
"""

from electra_cli.config.data import DataConfig
from electra_cli.config.model import ModelConfig
from electra_cli.config.objective import ObjectiveConfig, ObjectiveName
from electra_cli.config.optim import OptimConfig
from electra_cli.config.options import (
    changeable_options,
    idle_options,
    iter_options,
    option_table,
    reason_not_searched,
)
from electra_cli.config.recipe import PretrainConfig
from electra_cli.config.run import RunConfig, TrackerName, TrackerNames
from electra_cli.config.section import MAX_LAYERS, MAX_SEED, MAX_TOKENS, MAX_WINDOWS, Section

__all__ = [
    "MAX_LAYERS",
    "MAX_SEED",
    "MAX_TOKENS",
    "MAX_WINDOWS",
    "DataConfig",
    "ModelConfig",
    "ObjectiveConfig",
    "ObjectiveName",
    "OptimConfig",
    "PretrainConfig",
    "RunConfig",
    "Section",
    "TrackerName",
    "TrackerNames",
    "changeable_options",
    "idle_options",
    "iter_options",
    "option_table",
    "reason_not_searched",
]
