"""What all trials of a search share, and the yardstick's place in the study."""

import shutil
import socket
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.trial import TrialState

from electra_cli.batch import Batch
from electra_cli.config import PretrainConfig
from electra_cli.data.prepared import PreparedData
from electra_cli.errors import DataError
from electra_cli.model.objectives.electra import ElectraObjective
from electra_cli.run_directory import RunDirectory
from electra_cli.training.device import Compute
from electra_cli.tuning.metric import Metric
from electra_cli.tuning.space import SearchSpace
from electra_cli.tuning.study import preset_trial, trial_folder
from electra_cli.tuning.yardstick import (
    Yardstick,
    load_yardstick,
    make_yardstick,
    save_yardstick,
)

_YARDSTICK = "yardstick"  # the study's record of it: checksum, and the machine that made it
_YARDSTICK_NAME = "yardstick.safetensors"


@dataclass
class Search:
    """What all trials of a search share."""

    study: optuna.Study
    folder: Path
    num_trials: int
    preset: PretrainConfig
    space: SearchSpace
    metric_name: str
    metric: Metric
    data: PreparedData
    held_out: list[Batch]  # the preset's windows and masks, for every trial
    yardstick: Yardstick | None = None
    unclaimed: dict[int, float] = field(default_factory=dict)  # see fail_dead_trials

    @property
    def has_yardstick(self) -> bool:
        """Whether trial 0 has made it, here or elsewhere."""
        return _YARDSTICK in self.study.user_attrs

    def preset_value(self) -> float | None:
        """What the preset unchanged came to; None as long as it has not ended."""
        own = preset_trial(self.study)
        return None if own is None else own.value

    def open_yardstick(self) -> Yardstick:
        """The text that every discriminator of this study is scored on."""
        if self.yardstick is None:
            record = self.study.user_attrs[_YARDSTICK]
            path = self.folder / _YARDSTICK_NAME
            self.yardstick = load_yardstick(path, record["sha256"], record["host"])
        return self.yardstick

    def make_yardstick(self, model: ElectraObjective, compute: Compute) -> None:
        """Corrupt the held-out text with the preset's trained generator, for all trials.

        Raises DataError if that changes nothing.
        """
        made = make_yardstick(model, self.held_out, compute)
        if not made.replaced_fraction:
            raise DataError(
                "the preset's generator replaces no token of the held-out text",
                hint="hold more text out: electra prepare --validation-fraction",
            )
        sha256 = save_yardstick(made, self.folder / _YARDSTICK_NAME)
        record = {"sha256": sha256, "host": socket.gethostname()}
        self.study.set_user_attr(_YARDSTICK, record)

    def run_of(self, number: int) -> RunDirectory:
        """The run folder of a trial."""
        return RunDirectory(trial_folder(self.folder, number))

    def drop_checkpoints(self, number: int) -> None:
        """Remove what a trial's run saved, unless it is the best so far: others keep their log."""
        complete = (TrialState.COMPLETE,)
        best = self.study.best_trial.number if self.study.get_trials(states=complete) else None
        if number != best:
            shutil.rmtree(self.run_of(number).checkpoints, ignore_errors=True)
