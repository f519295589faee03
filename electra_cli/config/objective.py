"""The pre-training task: the section objective."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from electra_cli.config.section import MAX_STEPS, NotSearched, Section
from electra_cli.schedule import ScheduledNumber, ScheduledShare

ObjectiveName = Literal["electra", "mlm", "electra_masked_only", "replace_mlm", "all_tokens_mlm"]


class ObjectiveConfig(Section):
    """The pre-training task, with the authors' switches (configure_pretraining.py:32-64)."""

    name: Annotated[ObjectiveName, NotSearched("the losses of objectives do not compare")] = Field(
        "electra",
        description="electra; mlm, a masked language model of the discriminator's size; or one of "
        "the paper's comparisons (its section 3.4): electra_masked_only, replace_mlm, "
        "all_tokens_mlm.",
    )
    mask_fraction: ScheduledShare = Field(
        0.15,
        description="Share of tokens the generator predicts; also {start: 0.3, end: 0.15, "
        "over: 0.8}, which reaches end after that share of the steps.",
    )
    generator_loss_weight: float = Field(1.0, ge=0, description="Weight of the MLM loss.")
    discriminator_loss_weight: float = Field(
        50.0,
        ge=0,
        description="Weight of the RTD loss. For replace_mlm and all_tokens_mlm: weight of the "
        "word loss, default 1.",
    )
    temperature: ScheduledNumber = Field(
        1.0,
        description="Temperature of the softmax that samples are drawn from; also {start, end, "
        "over}, as mask_fraction.",
    )
    disallow_correct: bool = Field(
        False, description="Never sample the original token, so that every sample is a replacement."
    )
    freeze_generator: bool = Field(
        False, description="Leave the generator as it starts (model.init_from, .generator_from)."
    )
    discriminator_start_step: int = Field(
        0, ge=0, le=MAX_STEPS, description="Steps that the generator trains alone."
    )
    uniform_generator: bool = Field(
        False,
        description="Draw replacements uniformly from the vocabulary; no generator is trained.",
    )

    @model_validator(mode="before")
    @classmethod
    def _usual_word_loss_weight(cls, options: Any) -> Any:
        """Where the second network predicts words, both losses count alike."""
        if isinstance(options, dict) and options.get("name") in ("replace_mlm", "all_tokens_mlm"):
            return {"discriminator_loss_weight": 1.0, **options}
        return options

    @model_validator(mode="after")
    def _has_what_is_switched(self) -> "ObjectiveConfig":
        if self.name == "mlm" and (self.uniform_generator or self.disallow_correct):
            raise ValueError(
                "objective.name mlm replaces no token, so uniform_generator and disallow_correct "
                "have nothing to act on"
            )
        return self

    @property
    def has_generator(self) -> bool:
        """Whether there is a generator network beside the main one."""
        return self.name != "mlm" and not self.uniform_generator

    @property
    def trains_generator(self) -> bool:
        """Whether that network learns."""
        return self.has_generator and not self.freeze_generator

    @property
    def freezes_generator(self) -> bool:
        """Whether it stays as it is."""
        return self.has_generator and self.freeze_generator

    @property
    def steps_alone(self) -> int:
        """Steps in which nothing but the generator trains."""
        return self.discriminator_start_step if self.trains_generator else 0
