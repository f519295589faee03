"""A whole recipe: the sections, and what holds between them."""

from pathlib import Path
from typing import Any

from pydantic import model_validator

from electra_cli.config.data import DataConfig
from electra_cli.config.model import ModelConfig
from electra_cli.config.objective import ObjectiveConfig
from electra_cli.config.optim import OptimConfig
from electra_cli.config.run import RunConfig
from electra_cli.config.section import Section


class PretrainConfig(Section):
    """A whole recipe, validated."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optim: OptimConfig = OptimConfig()
    run: RunConfig = RunConfig()

    def as_json(self) -> dict[str, Any]:
        """Every option by section.key, as JSON holds it."""
        return {
            f"{section}.{key}": value
            for section, options in self.model_dump(mode="json").items()
            for key, value in options.items()
        }

    def with_directory(self, directory: Path | None) -> "PretrainConfig":
        """The same recipe for data in another folder."""
        data = self.data.model_copy(update={"directory": directory})
        return self.model_copy(update={"data": data})

    @model_validator(mode="after")
    def _fits(self) -> "PretrainConfig":
        if self.objective.freezes_generator and not self.model.starts_trained:
            raise ValueError(
                "objective.freeze_generator needs a trained generator: --init-from or --generator"
            )
        if self.objective.steps_alone and self.model.tie_encoders:
            raise ValueError(
                "objective.discriminator_start_step needs a generator of its own, and "
                "model.tie_encoders makes one encoder of both"
            )
        if self.data.max_seq_length > self.model.max_position_embeddings:
            raise ValueError(
                f"data.max_seq_length {self.data.max_seq_length} is longer than "
                f"model.max_position_embeddings {self.model.max_position_embeddings}"
            )
        return self
