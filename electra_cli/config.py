"""Every option of a pre-training run, once: name, type, default, bounds and help.

The YAML key, `--set`, validation, the table in docs/options.md (`python -m electra_cli.config`),
the saved config and the search space all come from here. Defaults are the authors' base recipe, so
that a preset lists only what differs from it (google-research/electra,
configure_pretraining.py; paper, table 6).
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic.fields import FieldInfo

from electra_cli.schedule import ScheduledNumber, ScheduledShare

# Far beyond any run, and small enough that no product of sizes overflows 64 bits.
MAX_STEPS = 10**12
MAX_WIDTH = 2**17
MAX_LAYERS = 1_000
MAX_TOKENS = 2**20  # of a window
MAX_WINDOWS = 2**24  # of a batch; data/masking.py numbers them with so many bits
MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class Changeable:
    """Marks an option that a resumed run may change: it says how, not what, is computed."""


@dataclass(frozen=True)
class NotSearched:
    """Marks an option that `electra tune` may not vary, and says why."""

    reason: str


_NOT_LEARNED = NotSearched("it changes what is logged or kept, not what is learned")
_SAME_RESULT = NotSearched("it changes nothing that is learned")


class Section(BaseModel):
    """A group of options: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _reject_other_kinds(cls, value: object, info: ValidationInfo) -> object:
        """Refuse `true` where a number stands, which pydantic would take for 1, and 1e6 as a count.

        The arguments of the command line take whole numbers in digits only.
        """
        assert info.field_name is not None
        kind = cls.model_fields[info.field_name].annotation
        if isinstance(value, bool) and kind is not bool:
            raise ValueError("Input should be a number or text, not true or false")
        if isinstance(value, float) and kind in (int, int | None):
            raise ValueError("Input should be a whole number in digits, such as 1000000")
        return value


def _as_utf8(text: str) -> str:
    return text.encode("utf-8", errors="replace").decode("utf-8")


class DataConfig(Section):
    """What is read, and how it is cut."""

    directory: Annotated[
        Path | None, Changeable(), NotSearched("all trials read the same text")
    ] = Field(
        None, description="Folder made by `electra prepare`; null takes the only one under data/."
    )
    max_seq_length: int = Field(
        512, ge=8, le=MAX_TOKENS, description="Longest window in tokens, [CLS] and [SEP] included."
    )
    single_segment_fraction: float = Field(
        0.1, ge=0, le=1, description="Share of windows with one segment instead of two."
    )
    short_window_fraction: float = Field(
        0.05, ge=0, le=1, description="Share of windows cut shorter than they could be."
    )

    @field_validator("directory")
    @classmethod
    def _is_a_path(cls, value: Path | None) -> Path | None:
        """Refuse what YAML can spell, but neither a file system nor the saved settings can hold."""
        if value is not None and ("\0" in str(value) or str(value) != _as_utf8(str(value))):
            raise ValueError("Input should be a path in UTF-8")
        return value


class ModelConfig(Section):
    """Sizes of both encoders; the names are those of transformers' ElectraConfig."""

    num_hidden_layers: int = Field(
        12, ge=1, le=MAX_LAYERS, description="Layers of the discriminator."
    )
    hidden_size: int = Field(768, ge=1, le=MAX_WIDTH, description="Width of the discriminator.")
    num_attention_heads: int = Field(
        12, ge=1, le=MAX_WIDTH, description="Heads of the discriminator."
    )
    intermediate_size: int = Field(
        3072, ge=1, le=MAX_WIDTH, description="Width of its feed-forward layers."
    )
    embedding_size: int = Field(
        768, ge=1, le=MAX_WIDTH, description="Width of the shared embeddings."
    )
    max_position_embeddings: int = Field(
        512, ge=8, le=MAX_TOKENS, description="Longest sequence the model can read."
    )
    generator_width: float = Field(
        1 / 3,
        gt=0,
        le=1,
        description="Generator's width as a share of the discriminator's, rounded down to whole "
        "heads (a number or a fraction such as 1/3).",
    )
    generator_depth: float = Field(
        1.0, gt=0, le=1, description="Generator's layers as a share of the discriminator's."
    )
    hidden_dropout_prob: float = Field(0.1, ge=0, lt=1, description="Dropout after each layer.")
    attention_probs_dropout_prob: float = Field(
        0.1, ge=0, lt=1, description="Dropout on attention weights."
    )
    initializer_range: float = Field(
        0.02, gt=0, description="Standard deviation of the truncated normal initial weights."
    )
    position_init: Literal["normal", "sinusoidal"] = Field(
        "normal",
        description="Initial position embeddings; sinusoids let a small model see order sooner.",
    )
    tie_embeddings: bool = Field(
        True, description="Share the embeddings between generator and discriminator."
    )
    generator_embedding_size: int | None = Field(
        None,
        ge=1,
        le=MAX_WIDTH,
        description="Width of the generator's embeddings where it has its own; null: its width.",
    )
    tie_encoders: bool = Field(
        False,
        description="Also share all layers: one encoder with two heads "
        "(needs generator_width 1 and generator_depth 1).",
    )
    init_from: Annotated[str | None, NotSearched("all trials start alike")] = Field(
        None,
        description="Start from a run, one of its checkpoints, or a Hugging Face folder or id.",
    )
    generator_from: Annotated[str | None, NotSearched("all trials start alike")] = Field(
        None,
        description="Start the generator from a masked language model of the same vocabulary.",
    )

    @field_validator("generator_width", "generator_depth", mode="before")
    @classmethod
    def _fraction(cls, value: object) -> object:
        """Read `1/3` as a third."""
        if isinstance(value, str) and (match := re.fullmatch(r"(\d{1,9})/([1-9]\d{0,8})", value)):
            return int(match[1]) / int(match[2])
        return value

    @model_validator(mode="after")
    def _whole_heads(self) -> "ModelConfig":
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is no multiple of "
                f"num_attention_heads {self.num_attention_heads}"
            )
        return self

    @model_validator(mode="after")
    def _tied(self) -> "ModelConfig":
        is_alike = self.generator_width == self.generator_depth == 1 and self.tie_embeddings
        if self.tie_encoders and not is_alike:
            raise ValueError(
                "tie_encoders needs generator_width 1, generator_depth 1 and tie_embeddings"
            )
        return self

    @property
    def head_size(self) -> int:
        """Width of one attention head, the same in both encoders."""
        return self.hidden_size // self.num_attention_heads

    @property
    def generator_heads(self) -> int:
        """Whole heads in generator_width: the paper's 64 of small's 256 is 1/3 rounded down."""
        return max(1, int(self.num_attention_heads * self.generator_width + 1e-6))

    @property
    def generator_hidden_size(self) -> int:
        """Width of the generator."""
        return self.generator_heads * self.head_size

    @property
    def generator_intermediate_size(self) -> int:
        """Feed-forward width, in the same proportion to the width as the discriminator's."""
        return self.intermediate_size * self.generator_hidden_size // self.hidden_size

    @property
    def width_of_generator_embeddings(self) -> int:
        """Embeddings of its own are as wide as the generator (run_pretraining.py:82)."""
        if self.tie_embeddings:
            return self.embedding_size
        return self.generator_embedding_size or self.generator_hidden_size

    @property
    def starts_trained(self) -> bool:
        """Whether any network starts from trained weights."""
        return self.init_from is not None or self.generator_from is not None

    @property
    def generator_layers(self) -> int:
        """Layers of the generator."""
        return max(1, int(self.num_hidden_layers * self.generator_depth + 1e-6))


TrackerName = Literal["tensorboard", "wandb", "trackio", "mlflow"]
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
    discriminator_start_step: int | None = Field(
        None,
        ge=0,
        le=MAX_STEPS,
        description="Steps that the generator trains alone; null: 0, but a tenth of the run for a "
        "fresh one beside trained weights.",
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
    def steps_alone(self) -> int:
        """Steps in which nothing but the generator trains."""
        return self.discriminator_start_step or 0 if self.trains_generator else 0


class OptimConfig(Section):
    """AdamW without bias correction, warm-up times linear decay (authors' optimization.py)."""

    learning_rate: float = Field(2e-4, gt=0, description="Peak learning rate.")
    num_warmup_steps: Annotated[
        int, NotSearched("search optim.warmup_fraction: trials have different numbers of steps")
    ] = Field(10_000, ge=0, le=MAX_STEPS, description="Steps of linear warm-up.")
    adam_beta1: float = Field(
        0.9, ge=0, lt=1, description="AdamW beta1 (running mean of gradients)."
    )
    adam_beta2: float = Field(
        0.999, ge=0, lt=1, description="AdamW beta2 (running mean of squared gradients)."
    )
    adam_epsilon: float = Field(
        1e-6, gt=0, description="AdamW epsilon, added to the root of the second moment."
    )
    weight_decay: float = Field(
        0.01, ge=0, description="Weight decay of all weights except biases and LayerNorm."
    )
    max_grad_norm: float | None = Field(
        1.0, gt=0, description="Clip the global norm of both networks; null turns it off."
    )
    layer_decay: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Factor of the main network's rate from layer to layer, as in fine-tuning; "
        "null: 1.",
    )


class RunConfig(Section):
    """How long, how large, how often, and on what."""

    num_steps: Annotated[
        int, NotSearched("it follows from the FLOPs that every trial may spend")
    ] = Field(766_000, ge=1, le=MAX_STEPS, description="Total number of optimizer steps.")
    batch_size: int = Field(256, ge=1, le=MAX_WINDOWS, description="Windows per optimizer step.")
    micro_batch_size: Annotated[int | None, Changeable()] = Field(
        None,
        ge=1,
        le=MAX_WINDOWS,
        description="Windows per forward pass, at most; a divisor of batch_size. null takes the "
        "largest that fits in memory.",
    )
    seed: Annotated[int, NotSearched("a better seed is luck, not a better setting")] = Field(
        0, ge=0, le=MAX_SEED, description="Seed of weights, order, masks and samples."
    )
    precision: Annotated[Literal["auto", "fp32", "bf16", "fp16"], Changeable()] = Field(
        "auto", description="Matmul precision; auto picks the fastest the device supports."
    )
    device: Annotated[str, Changeable(), _SAME_RESULT] = Field(
        "auto", description="auto, cpu, cuda, cuda:N or mps."
    )
    gradient_checkpointing: Annotated[bool, Changeable()] = Field(
        False, description="Recompute activations in the backward pass: less memory, more time."
    )
    compile: Annotated[bool, Changeable(), _SAME_RESULT] = Field(
        False, description="Compile both encoders with torch.compile (GPU)."
    )
    log_every: Annotated[int, Changeable(), _NOT_LEARNED] = Field(
        100, ge=1, le=MAX_STEPS, description="Steps between rows of training_log.csv."
    )
    eval_every: Annotated[int, Changeable(), _NOT_LEARNED] = Field(
        5_000,
        ge=1,
        le=MAX_STEPS,
        description="Steps between held-out evaluations; a multiple of log_every.",
    )
    num_eval_windows: Annotated[int, _NOT_LEARNED] = Field(
        2_048, ge=1, le=MAX_WINDOWS, description="Maximum held-out windows per evaluation."
    )
    probes: Annotated[tuple[str, ...], Changeable(), _NOT_LEARNED] = Field(
        (),
        description="Files to probe the model with: text and label, or minimal pairs good and bad.",
    )
    probe_every: Annotated[int | None, Changeable(), _NOT_LEARNED] = Field(
        None,
        ge=1,
        le=MAX_STEPS,
        description="Steps between probes, a multiple of eval_every; null: so many that they cost "
        "less than 5%.",
    )
    save_every: Annotated[int, Changeable(), _NOT_LEARNED] = Field(
        5_000, ge=1, le=MAX_STEPS, description="Steps between checkpoints."
    )
    keep_checkpoints: Annotated[int, Changeable(), _NOT_LEARNED] = Field(
        3, ge=1, le=MAX_STEPS, description="Number of newest checkpoints to keep."
    )
    keep_every: Annotated[int | None, Changeable(), _NOT_LEARNED] = Field(
        None,
        ge=1,
        le=MAX_STEPS,
        description="Also keep checkpoints whose step is a multiple of this; a multiple of "
        "save_every.",
    )
    report_to: Annotated[list[TrackerName], Changeable(), _SAME_RESULT] = Field(
        [],
        description="Where rows of the log also go: tensorboard, wandb, trackio, mlflow; one or a "
        "list.",
    )
    on_full_disk: Annotated[Literal["stop", "continue"], Changeable(), _SAME_RESULT] = Field(
        "stop",
        description="When the disk is full: stop, or continue and try to write again later.",
    )
    on_nonfinite: Annotated[Literal["stop", "skip"], Changeable(), _NOT_LEARNED] = Field(
        "stop",
        description="When a loss is not finite: stop, or go back to the last checkpoint and skip "
        "the batch.",
    )
    max_skipped_batches: Annotated[int, Changeable(), _NOT_LEARNED] = Field(
        3,
        ge=1,
        le=MAX_STEPS,
        description="Maximum number of batches that on_nonfinite: skip may skip.",
    )

    @field_validator("report_to", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        """Read `tensorboard` as a list of one, and a repeated name once."""
        names = [value] if isinstance(value, str) else value
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return list(dict.fromkeys(names))
        return names

    @property
    def windows_per_pass(self) -> int:
        """Windows per forward pass: micro_batch_size, or the whole batch where it is null."""
        return self.micro_batch_size or self.batch_size

    def num_parts(self, num_processes: int = 1) -> int:
        """Micro-batches of a step: a multiple of the processes, none above windows_per_pass."""
        return num_processes * math.ceil(self.batch_size / num_processes / self.windows_per_pass)

    @model_validator(mode="after")
    def _divisible(self) -> "RunConfig":
        if self.micro_batch_size is not None and self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size {self.batch_size} is no multiple of "
                f"micro_batch_size {self.micro_batch_size}"
            )
        if self.eval_every % self.log_every:
            raise ValueError(
                f"eval_every {self.eval_every} is no multiple of log_every {self.log_every}"
            )
        if self.probe_every is not None and self.probe_every % self.eval_every:
            raise ValueError(
                f"probe_every {self.probe_every} is no multiple of eval_every {self.eval_every}"
            )
        if self.keep_every is not None and self.keep_every % self.save_every:
            raise ValueError(
                f"keep_every {self.keep_every} is no multiple of save_every {self.save_every}"
            )
        return self


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
        if self.objective.freeze_generator and not self.model.starts_trained:
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


def iter_options(recipe: type[Section] | None = None) -> Iterator[tuple[str, FieldInfo]]:
    """Every option of a recipe, by default of PretrainConfig, as `section.key`, in order."""
    for section, field in (recipe or PretrainConfig).model_fields.items():
        section_class = field.annotation
        assert isinstance(section_class, type)
        assert issubclass(section_class, Section)
        for key, option in section_class.model_fields.items():
            yield f"{section}.{key}", option


_OF_GENERATOR = (
    "objective.temperature",
    "objective.freeze_generator",
    "objective.discriminator_start_step",
)


def idle_options(config: PretrainConfig) -> dict[str, str]:
    """The options that nothing reads under these settings, each with the reason."""
    objective, idle = config.objective, {}
    if not objective.has_generator:
        setting = "name mlm" if objective.name == "mlm" else "uniform_generator"
        names = (
            "generator_width",
            "generator_depth",
            "tie_embeddings",
            "generator_embedding_size",
            "tie_encoders",
            "generator_from",
        )
        idle = dict.fromkeys(
            (*(f"model.{name}" for name in names), *_OF_GENERATOR),
            f"objective.{setting} trains no generator",
        )
        if objective.name == "mlm":
            reason = "objective.name mlm trains one network; its weight is generator_loss_weight"
            idle["objective.discriminator_loss_weight"] = reason
        else:
            idle["objective.generator_loss_weight"] = f"objective.{setting} trains no generator"
    elif objective.freeze_generator:
        reason = "objective.freeze_generator trains no generator"
        idle["objective.generator_loss_weight"] = reason
        idle["objective.discriminator_start_step"] = reason
    elif config.model.tie_embeddings:
        idle["model.generator_embedding_size"] = "model.tie_embeddings shares the embeddings"
    if config.run.on_nonfinite == "stop":
        idle["run.max_skipped_batches"] = "run.on_nonfinite is stop"
    return idle


def changeable_options() -> list[str]:
    """The options that a resumed run may change, sorted."""
    return sorted(name for name, option in iter_options() if Changeable() in option.metadata)


def reason_not_searched(name: str) -> str | None:
    """Why `electra tune` may not vary an option; None if it may."""
    option = dict(iter_options()).get(name)
    marks = [] if option is None else option.metadata
    return next((mark.reason for mark in marks if isinstance(mark, NotSearched)), None)


def _in_yaml(default: Any) -> str:
    """A default as it is written in a preset."""
    match default:
        case None:
            return "null"
        case bool():
            return str(default).lower()
        case float():
            return f"{default:.4g}"
        case tuple():
            return str(list(default))
    return str(default)


def option_table(recipe: type[Section] | None = None) -> str:
    """A table of options in docs/options.md, in Markdown."""
    lines = ["| option | default | what it does |", "|---|---|---|"]
    for name, option in iter_options(recipe):
        cells = (f"`{name}`", _in_yaml(option.default), str(option.description))
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(option_table())
