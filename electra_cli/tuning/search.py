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
from electra_cli.probing.probes import Probes
from electra_cli.run_directory import RunDirectory
from electra_cli.runs.micro_batch import fit_micro_batch
from electra_cli.runs.session import count_model_parameters, held_out_batches
from electra_cli.training.device import Compute, select_compute
from electra_cli.tuning.metric import Metric
from electra_cli.tuning.space import SearchSpace, value_of
from electra_cli.tuning.storage import IS_PRESET, open_storage
from electra_cli.tuning.study import (
    open_study,
    preset_trial,
    shared_settings,
    trial_directory,
    wait_for_folder,
)
from electra_cli.tuning.yardstick import (
    FixedCorruption,
    corrupt_held_out,
    load_corruption,
    save_corruption,
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
    metric: Metric
    data: PreparedData
    held_out: list[Batch]  # the preset's windows and masks, for every trial
    probes: Probes | None  # the preset's
    yardstick: FixedCorruption | None = None
    ownerless_since: dict[int, float] = field(default_factory=dict)  # see fail_dead_trials

    @property
    def has_yardstick(self) -> bool:
        """Whether trial 0 has made it, here or elsewhere."""
        return _YARDSTICK in self.study.user_attrs

    def preset_value(self) -> float | None:
        """The score of the preset unchanged; None as long as its trial has not ended."""
        trial = preset_trial(self.study)
        return None if trial is None else trial.value

    def open_yardstick(self) -> FixedCorruption:
        """The text that every discriminator of this study is scored on."""
        if self.yardstick is None:
            record = self.study.user_attrs[_YARDSTICK]
            path = self.folder / _YARDSTICK_NAME
            self.yardstick = load_corruption(path, record["sha256"], record["host"])
        return self.yardstick

    def make_yardstick(self, model: ElectraObjective, compute: Compute) -> None:
        """Corrupt the held-out text with the preset's trained generator, for all trials.

        Raises DataError if that changes nothing.
        """
        corruption = corrupt_held_out(model, self.held_out, compute)
        if not corruption.replaced_fraction:
            raise DataError(
                "the preset's generator replaces no token of the held-out text",
                hint="hold more text out: electra prepare --validation-fraction",
            )
        sha256 = save_corruption(corruption, self.folder / _YARDSTICK_NAME)
        record = {"sha256": sha256, "host": socket.gethostname()}
        self.study.set_user_attr(_YARDSTICK, record)

    def trial_directory(self, number: int) -> RunDirectory:
        """The run folder of a trial."""
        return trial_directory(self.folder, number)

    def drop_checkpoints(self, number: int) -> None:
        """Remove a trial's checkpoints, unless it is the best trial so far; its log stays."""
        complete = (TrialState.COMPLETE,)
        best = self.study.best_trial.number if self.study.get_trials(states=complete) else None
        if number != best:
            shutil.rmtree(self.trial_directory(number).checkpoints, ignore_errors=True)


def open_search(
    name: str,
    storage: str,
    folder: Path,
    num_trials: int,
    preset: PretrainConfig,
    space: SearchSpace,
    metric: Metric,
    pruner: str,
    data: PreparedData,
    probes: Probes | None,
) -> Search:
    """Create the study with its folder, or go on with it; the preset unchanged is queued first.

    Raises RunError if the study is about something else, or a machine cannot run the preset.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with wait_for_folder(folder):
        study = open_study(
            name,
            open_storage(storage),
            shared_settings(preset, space, metric.name, data),
            metric.direction,
            pruner,
            preset.run.seed,
            folder,
        )
        if preset_trial(study) is None:
            values = {name: value_of(preset, name) for name in space.names}
            study.enqueue_trial(values, user_attrs={IS_PRESET: True})
    _, num_parameters = count_model_parameters(preset, data.manifest.vocab_size)
    fitted = fit_micro_batch(preset, num_parameters, select_compute(preset))
    held_out = held_out_batches(fitted, data)
    return Search(study, folder, num_trials, preset, space, metric, data, held_out, probes)
